"""How many classes do weights know? Asked before they meet a model of another number."""

import os

import h5py

from keras_efficientdet.errors import CheckpointError
from keras_efficientdet.weights.files import read_checkpoint
from keras_efficientdet.weights.released import released_sets

COCO_CLASSES = 90  # places of the official COCO head
_CLASS_BIAS = 'class_net/class-predict/bias'


def class_count(weights, model):
    """Number of classes that weights predict, or None where it cannot be told.

    Args:
      weights: what `models.efficientdet` takes, but 'imagenet'. model: ModelConfig of the same architecture.
    Raises:
      CheckpointError: the weights cannot be read.
    """
    per_place = model.num_scales * len(model.aspect_ratios)
    if isinstance(weights, str) and weights in released_sets():
        return COCO_CLASSES
    if isinstance(weights, str | os.PathLike) and str(weights).endswith('.weights.h5'):
        return _of_keras_file(weights, model.fpn_num_filters, per_place)
    values = read_checkpoint(weights) if isinstance(weights, str | os.PathLike) else weights
    bias = next((value for name, value in values.items() if name.startswith(_CLASS_BIAS)), None)
    return None if bias is None else len(bias) // per_place


def _of_keras_file(path, filters, per_place):
    """Keras 2 names variables after their place only, so the two predicting convolutions are known by their shape."""
    widths = []

    def look(_, value):
        if isinstance(value, h5py.Dataset) and value.shape[:-1] == (1, 1, filters):
            width = value.shape[-1]
            if (
                width % per_place == 0 and width != filters
            ):  # of those within a tower there are many
                widths.append(width // per_place)

    try:
        with h5py.File(path) as file:
            file.visititems(look)
    except OSError as error:
        raise CheckpointError(f'{path}: cannot be read: {error}') from error
    if 4 in widths:
        widths.remove(4)  # the box prediction
    return widths[0] if len(widths) == 1 else None
