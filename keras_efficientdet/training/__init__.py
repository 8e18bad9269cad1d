"""Training: what the official trainer does, inside Keras' own `fit`."""

from keras_efficientdet.errors import NonFiniteLossError
from keras_efficientdet.network.trained import load_trained
from keras_efficientdet.training.callbacks import CocoEvaluation, CsvLog, KeepAverages
from keras_efficientdet.training.compile import compile_for_training
from keras_efficientdet.training.fit import fit
from keras_efficientdet.training.strategies import is_chief, strategy_for

__all__ = [
    'CocoEvaluation',
    'CsvLog',
    'KeepAverages',
    'NonFiniteLossError',
    'compile_for_training',
    'fit',
    'is_chief',
    'load_trained',
    'strategy_for',
]
