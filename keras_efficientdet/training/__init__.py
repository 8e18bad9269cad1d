"""Training: what the official trainer does, inside Keras' own `fit`."""
from keras_efficientdet.training.callbacks import CocoEvaluation, CsvLog
from keras_efficientdet.training.loop import compile_for_training, fit, load_trained

__all__ = ['CocoEvaluation', 'CsvLog', 'compile_for_training', 'fit', 'load_trained']
