"""EfficientDet for Keras, equal to google/automl's, number for number."""
from keras_efficientdet.anchors import anchors
from keras_efficientdet.checkpoints import CheckpointError, LoadReport, load_official, save_official
from keras_efficientdet.config import Config, ConfigError, load_config, model_names
from keras_efficientdet.data import dataset
from keras_efficientdet.drawing import draw
from keras_efficientdet.evaluation import evaluate
from keras_efficientdet.export import export_onnx, export_openvino, export_savedmodel, export_tflite, read_labels
from keras_efficientdet.formats.coco import read_coco
from keras_efficientdet.models import detector, efficientdet
from keras_efficientdet.records import DataError, label_overrides, write_records
from keras_efficientdet.serving import Detections, Detector
from keras_efficientdet.training import CocoEvaluation, compile_for_training, fit

__version__ = '0.1.0'
__all__ = ['CheckpointError', 'CocoEvaluation', 'Config', 'ConfigError', 'DataError', 'Detections', 'Detector', 'LoadReport',
           'anchors', 'compile_for_training', 'dataset', 'detector', 'draw', 'efficientdet', 'evaluate', 'export_onnx',
           'export_openvino', 'export_savedmodel', 'export_tflite', 'fit', 'label_overrides', 'load_config', 'load_official',
           'model_names', 'read_coco', 'read_labels', 'save_official', 'write_records']
