"""Models that leave Python, one file per format."""
from keras_efficientdet.export.savedmodel import export_savedmodel

__all__ = ['export_savedmodel']
