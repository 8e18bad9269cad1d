"""Nearest-neighbour resizing as officially, as layers with gradients that XLA compiles."""

import keras
import numpy as np
import tensorflow as tf

_register = keras.saving.register_keras_serializable('keras_efficientdet')


@_register
class NearestResize(keras.layers.Layer):
    """Nearest-neighbour resize to `size` (height, width): source = floor(target * in / out)."""

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = tuple(size)

    def call(self, inputs, training=None):
        if training:
            return _nearest_with_gradient(inputs, self.size)
        return _nearest(inputs, self.size)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.size, input_shape[3])

    def get_config(self):
        return {**super().get_config(), 'size': self.size}


@_register
class UpSampling2D(keras.layers.UpSampling2D):
    """keras.layers.UpSampling2D with a gradient that XLA compiles on Keras 2, too."""

    def call(self, inputs, training=None):
        if not training:
            return super().call(inputs)
        size = [n * factor for n, factor in zip(inputs.shape[1:3], self.size, strict=True)]
        return _nearest_with_gradient(inputs, size)


def _nearest(images, size):
    return tf.raw_ops.ResizeNearestNeighbor(
        images=images, size=size, align_corners=False, half_pixel_centers=False
    )


def _nearest_with_gradient(images, size):
    """`_nearest` with a gradient of two matrix products; XLA has no kernel for TensorFlow's."""
    rows = tf.constant(_sources(images.shape[1], size[0]), images.dtype)  # [y, h]
    columns = tf.constant(_sources(images.shape[2], size[1]), images.dtype)  # [x, w]

    @tf.custom_gradient
    def resize(x):
        return _nearest(x, size), lambda g: tf.einsum('byxc,yh,xw->bhwc', g, rows, columns)

    return resize(images)


def _sources(count, target):
    """[target, count], 1 at the source of each target, rounded in float32 as the kernel does."""
    taken = np.floor(np.arange(target, dtype=np.float32) * np.float32(count / target))
    return np.eye(count)[np.minimum(taken, count - 1).astype(int)]
