"""EfficientDet for Keras, equal to google/automl's, number for number."""

import os
import sys

__version__ = '0.1.0'
__all__ = [
    'CheckpointError',
    'Classification',
    'Classifier',
    'CocoEvaluation',
    'Config',
    'ConfigError',
    'DataError',
    'Detections',
    'Detector',
    'KeepAverages',
    'LoadReport',
    'anchors',
    'centernet',
    'classifier',
    'compile_for_training',
    'dataset',
    'detector',
    'draw',
    'efficientdet',
    'evaluate',
    'export_onnx',
    'export_openvino',
    'export_savedmodel',
    'export_tflite',
    'fit',
    'label_overrides',
    'load_config',
    'load_official',
    'model_names',
    'read_coco',
    'read_csv',
    'read_examples',
    'read_folder',
    'read_key_points',
    'read_labels',
    'read_masks',
    'read_tfds',
    'read_voc',
    'read_yolo',
    'save_official',
    'save_torch',
    'validation_dataset',
    'with_masks',
    'write_records',
]


def _started_as_command() -> bool:
    """Whether this process is `efficientdet` or `python -m keras_efficientdet`."""
    program = os.path.basename(sys.argv[0]) if getattr(sys, 'argv', None) else ''
    if program == '-m':  # its meaning while the package of a module is imported
        return 'keras_efficientdet' in sys.orig_argv
    return program in ('efficientdet', 'efficientdet.exe')


# The command imports this package before it can do anything. It lists its commands without
# TensorFlow, whose import takes seconds, and imports it without its start-up noise; so it finds
# no public names here, and takes them from their modules.
if not _started_as_command():
    from keras_efficientdet.config import Config, load_config, model_names
    from keras_efficientdet.data.cache import label_overrides
    from keras_efficientdet.data.formats.coco import read_coco
    from keras_efficientdet.data.formats.csv_table import read_csv
    from keras_efficientdet.data.formats.examples import read_examples
    from keras_efficientdet.data.formats.folder import read_folder
    from keras_efficientdet.data.formats.key_points import read_key_points
    from keras_efficientdet.data.formats.mask_files import read_masks, with_masks
    from keras_efficientdet.data.formats.tfds import read_tfds
    from keras_efficientdet.data.formats.voc import read_voc
    from keras_efficientdet.data.formats.yolo import read_yolo
    from keras_efficientdet.data.pipeline import dataset, validation_dataset
    from keras_efficientdet.data.record_writer import write_records
    from keras_efficientdet.errors import CheckpointError, ConfigError, DataError
    from keras_efficientdet.evaluation.coco import evaluate
    from keras_efficientdet.export import (
        export_onnx,
        export_openvino,
        export_savedmodel,
        export_tflite,
        read_labels,
    )
    from keras_efficientdet.imaging.drawing import draw
    from keras_efficientdet.inference.classifier import Classification, Classifier
    from keras_efficientdet.inference.detections import Detections
    from keras_efficientdet.inference.detector import Detector
    from keras_efficientdet.network.centernet import centernet
    from keras_efficientdet.network.classifier import classifier
    from keras_efficientdet.network.detector import detector
    from keras_efficientdet.network.efficientdet import efficientdet
    from keras_efficientdet.ops.anchors import anchors
    from keras_efficientdet.training import CocoEvaluation, KeepAverages, compile_for_training, fit
    from keras_efficientdet.weights.load_report import LoadReport
    from keras_efficientdet.weights.official import load_official, save_official
    from keras_efficientdet.weights.torch_writer import save_torch
