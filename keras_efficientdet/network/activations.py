"""Activations that Keras 2.15 lacks. They are registered, so saved models find them by name."""

import keras
import tensorflow as tf

_register = keras.saving.register_keras_serializable('keras_efficientdet')


@_register
def hswish(x):
    """x * relu6(x + 3) / 6"""
    return x * tf.nn.relu6(x + 3.0) / 6.0


@_register
def mish(x):
    """x * tanh(softplus(x))"""
    return x * tf.tanh(tf.nn.softplus(x))


@_register
def srelu(x):
    """Smooth relu x - log(beta x + 1) / beta for x > 0, with the official beta of 20 ** 4."""
    beta = 20.0**4
    wide = tf.cast(x, tf.float32)  # beta is outside the range of float16
    # The inner `where` keeps log(<= 0) out of the branch not taken, whose gradient would be nan.
    inside = tf.where(wide > 0.0, beta * wide + 1.0, 1.0)
    return tf.cast(tf.where(wide > 0.0, wide - tf.math.log(inside) / beta, 0.0), x.dtype)
