"""How many classes weights predict, found without building their model."""

import os
import re
from collections.abc import Mapping

import h5py
import numpy as np

from keras_efficientdet.config import ModelConfig
from keras_efficientdet.errors import CheckpointError
from keras_efficientdet.weights.files import is_keras_weights, read_checkpoint
from keras_efficientdet.weights.given import (
    classes_in_keras_model,
    found_weights,
    is_keras_model,
)
from keras_efficientdet.weights.released import released_sets

COCO_CLASSES = 90  # outputs of the official COCO head, some of which no class uses
_CLASS_BIAS = re.compile(r'^(class_net/class-predict|[^/]+/head/dense|predictions)/bias')
_BOX_CODES = 4


def class_count(
    weights: str | os.PathLike | Mapping[str, np.ndarray], model: ModelConfig
) -> int | None:
    """The number of classes that weights predict, or None where it cannot be told.

    Args:
      weights: what `efficientdet(weights=...)` takes, except 'imagenet'.
      model: configuration of the same architecture with any number of classes.
    Raises:
      CheckpointError: the weights cannot be read.
    """
    weights = found_weights(weights)
    classifies = model.head == 'classification'
    per_place = 1 if model.head != 'anchor' else model.num_scales * len(model.aspect_ratios)
    if isinstance(weights, str) and weights in released_sets():
        return COCO_CLASSES
    if is_keras_weights(weights):
        if classifies:
            return (_widths(weights, 'dense') or [None])[-1]
        kind = 'separable_conv2d' if model.separable_conv else 'conv2d'
        return _of_keras_file(weights, kind, per_place)
    if is_keras_model(weights):
        return classes_in_keras_model(weights)
    values = weights if isinstance(weights, Mapping) else read_checkpoint(weights)
    for name, value in values.items():
        if _CLASS_BIAS.match(name):  # or its moving average
            return len(value) // per_place
    return None


def _of_keras_file(path, kind, per_place):
    """From the outputs of the two predicting convolutions, one of boxes and one of classes.

    Keras stores no layer names: it numbers the layers of each class in the order of `model.layers`,
    which ends with the outputs. So the predicting convolutions are the last two of their class.
    """
    outputs = [width // per_place for width in _widths(path, kind)[-2:]]
    if len(outputs) != 2 or _BOX_CODES not in outputs:
        return None
    outputs.remove(_BOX_CODES)
    return outputs[0]


def _widths(path, kind):
    """The number of outputs of each layer of a class like 'separable_conv2d', in model order."""
    try:
        with h5py.File(path) as file:
            layers = file.get('layers', {})
            numbered = {_number(name, kind): layers[name] for name in layers}
            numbered.pop(None, None)
            # The last variable of a convolution is its bias.
            return [_last_variable(numbered[i]['vars']).shape[0] for i in sorted(numbered)]
    except (OSError, KeyError) as error:
        raise CheckpointError(f'{path}: cannot be read as Keras weights: {error}') from error


def _number(name, kind):
    """'conv2d' -> 0, 'conv2d_7' -> 7; None for a layer of another class."""
    match = re.fullmatch(rf'{kind}(?:_(\d+))?', name)
    return int(match[1] or 0) if match else None


def _last_variable(variables):
    return variables[str(len(variables) - 1)]
