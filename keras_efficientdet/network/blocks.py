"""Convolutions, batch norm and activations with the official constants, as unbuilt layers."""

import keras

from keras_efficientdet.network.activations import hswish, mish, srelu
from keras_efficientdet.network.layers import BatchNorm

BN_MOMENTUM = 0.99
BN_EPSILON = 1e-3
FAN_OUT_NORMAL = {
    'class_name': 'VarianceScaling',  # normal(0, sqrt(2 / (kh * kw * filters))), EfficientNet's own
    'config': {'scale': 2.0, 'mode': 'fan_out', 'distribution': 'untruncated_normal'},
}
ACTIVATIONS = {
    'swish': 'swish',
    'silu': 'swish',
    'swish_native': 'swish',
    'relu': 'relu',
    'relu6': 'relu6',
    'hswish': hswish,
    'mish': mish,
    'srelu': srelu,
}


def activation(act_type, name):
    """The activation layer of an official `act_type`.

    Raises:
      ValueError: unknown `act_type`.
    """
    if act_type not in ACTIVATIONS:
        raise ValueError(f'act_type {act_type!r}: expected one of {", ".join(ACTIVATIONS)}')
    return keras.layers.Activation(ACTIVATIONS[act_type], name=name)


def batch_norm(name):
    """Batch norm with the official momentum and epsilon."""
    return BatchNorm(momentum=BN_MOMENTUM, epsilon=BN_EPSILON, name=name)


def conv2d(
    filters,
    kernel_size=1,
    *,
    name,
    strides=1,
    use_bias=True,
    initializer='glorot_uniform',
    weight_decay=0.0,
    **kwargs,
):
    """Convolution with 'same' padding, and L2 of weight_decay * sum(w ** 2) / 2 on the kernel."""
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        strides,
        'same',
        use_bias=use_bias,
        kernel_initializer=_init(initializer),
        kernel_regularizer=l2(weight_decay),
        name=name,
        **kwargs,
    )


def depthwise_conv2d(kernel_size, *, name, strides=1, initializer, weight_decay=0.0):
    """Depthwise convolution without bias."""
    return keras.layers.DepthwiseConv2D(
        kernel_size,
        strides,
        'same',
        use_bias=False,
        depthwise_initializer=_init(initializer),
        depthwise_regularizer=l2(weight_decay),
        name=name,
    )


def separable_conv2d(
    filters, *, name, use_bias=True, initializer='glorot_uniform', weight_decay=0.0, **kwargs
):
    """3x3 depthwise and 1x1 pointwise convolution in one layer."""
    return keras.layers.SeparableConv2D(
        filters,
        3,
        padding='same',
        use_bias=use_bias,
        depthwise_initializer=_init(initializer),
        pointwise_initializer=_init(initializer),
        depthwise_regularizer=l2(weight_decay),
        pointwise_regularizer=l2(weight_decay),
        name=name,
        **kwargs,
    )


def _init(initializer):
    """A fresh initializer object: Keras warns when unseeded ones are shared between layers."""
    if isinstance(initializer, dict):
        return keras.initializers.deserialize(initializer)
    return keras.initializers.get(initializer)


def l2(weight_decay):
    """Halved, since the official term is weight_decay * sum(w ** 2) / 2 and Keras' has no 1/2."""
    return keras.regularizers.L2(weight_decay / 2.0) if weight_decay else None
