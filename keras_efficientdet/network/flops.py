"""The cost of a network's forward pass, counted from the layers of the model."""

import math

import keras
import tensorflow as tf

from keras_efficientdet.keras_compat import layer_calls, variable_path

_COUNTED = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Dense,
)


def flops(model: keras.Model) -> int:
    """Multiply-adds of a functional model with a fixed input size, for one image.

    A multiplication and its addition count as one operation, and only convolutions and dense
    layers are counted, as in the EfficientDet paper (table 2), whose "FLOPs" are multiply-adds:
    2.5 billion for EfficientDet-D0. A layer that is called at several levels counts at each.
    """
    total = 0
    for layer, output in layer_calls(model):
        if isinstance(layer, _COUNTED):
            _, *positions, _ = tf.nest.flatten(output)[0].shape  # [batch, height, width, channels]
            total += math.prod(positions) * _kernel_size(layer)
    return total


def _kernel_size(layer):
    """The numbers in a layer's kernels: the multiplications for one position of its output."""
    kernels = [w for w in layer.weights if 'kernel' in variable_path(w)]
    return sum(math.prod(kernel.shape) for kernel in kernels)
