"""Models that leave Python, one file per format."""

from keras_efficientdet.export.labels import read_labels
from keras_efficientdet.export.onnx import export_onnx
from keras_efficientdet.export.openvino import export_openvino
from keras_efficientdet.export.savedmodel import export_savedmodel
from keras_efficientdet.export.tflite import export_tflite

__all__ = ['export_onnx', 'export_openvino', 'export_savedmodel', 'export_tflite', 'read_labels']
