"""Training: what the official trainer does, inside Keras' own `fit`."""
from keras_efficientdet.training.callbacks import CocoEvaluation, CsvLog
from keras_efficientdet.training.loop import compile_for_training, fit, load_trained
from keras_efficientdet.training.nonfinite import NonFiniteLossError

__all__ = ['CocoEvaluation', 'CsvLog', 'NonFiniteLossError', 'compile_for_training', 'fit', 'load_trained']
