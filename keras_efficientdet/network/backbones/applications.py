"""Any network of Keras as a backbone, behind the preprocessing that it was trained with.

The detector is fed as every other one; its first layer turns normalised images into what the
network takes. So data, exports and serving need to know nothing of it.
"""

import re
import typing

import keras
import numpy as np
import tensorflow as tf

from keras_efficientdet.config import ModelConfig
from keras_efficientdet.config.choices import APPLICATIONS
from keras_efficientdet.errors import CheckpointError, ConfigError
from keras_efficientdet.keras_compat import inputs_of_call
from keras_efficientdet.network.layers import BatchNorm
from keras_efficientdet.ops.anchors import feature_sizes

_KERNELS = ('depthwise_regularizer', 'kernel_regularizer')
# What networks without a layer for it take of an RGB image in 0 to 255: (factor, offset, whether
# the channels are blue, green, red). Source: keras.applications.imagenet_utils.preprocess_input.
_CAFFE = (1.0, (-103.939, -116.779, -123.68), True)
_TF = (1 / 127.5, -1.0, False)
_TORCH = (
    1 / (255 * np.array([0.229, 0.224, 0.225])),
    -np.array([0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
    False,
)
# By the beginning of the network's name; the first that fits.
_FAMILIES = (
    (r'resnet\d+v2|(mobile|nas)net|inception|xception', _TF),
    (r'resnet\d|vgg', _CAFFE),
    (r'densenet', _TORCH),
)


@keras.saving.register_keras_serializable('keras_efficientdet')
class Preprocessing(keras.layers.Layer):
    """images * factor + offset; with `reverse` the channels are exchanged first.

    Args:
      factor, offset: one number per channel of the output.
    """

    def __init__(self, factor, offset, reverse=False, **kwargs):
        super().__init__(**kwargs)
        self.factor = [float(value) for value in factor]
        self.offset = [float(value) for value in offset]
        self.reverse = reverse

    def call(self, inputs):
        images = inputs[..., ::-1] if self.reverse else inputs
        return images * tf.cast(self.factor, images.dtype) + tf.cast(self.offset, images.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        own = {'factor': self.factor, 'offset': self.offset, 'reverse': self.reverse}
        return {**super().get_config(), **own}


def application(model: ModelConfig, weights: str | None = None) -> keras.Model:
    """The network of `keras.applications` that `model.backbone_name` names, without its top.

    Raises:
      CheckpointError: weights='imagenet' cannot be downloaded.
    """
    build = getattr(keras.applications, model.backbone_name)
    try:
        return build(include_top=False, weights=weights, input_shape=(*model.image_size, 3))
    except Exception as error:  # Keras raises Exception itself where a download fails
        if weights is None:
            raise
        raise CheckpointError(
            f'the ImageNet weights of {model.backbone_name} are not here and cannot be downloaded: '
            f'{error}'
        ) from error


def name_of(backbone: keras.Model) -> str:
    """The row of APPLICATIONS that built a network, by its name; 'own' for other networks."""
    names = {name.lower(): name for name in APPLICATIONS}
    # MobileNets of the usual width are called mobilenetv2_1.00_224.
    return names.get(re.sub(r'_1\.00_\d+$', '', backbone.name.lower()), 'own')


def applied(
    backbone: keras.Model, images: typing.Any, model: ModelConfig, weight_decay: float = 0.0
) -> dict[int, typing.Any]:
    """{level: features [B, h, w, C]} of a network for normalised images.

    A level is the output of the last residual block of its size, after its activation; in a network
    without such blocks, of the last layer of the size. A network with several outputs has chosen
    its features itself. The layers are copies, under names that begin with `model.backbone_name`;
    their batch norm and weight decay are those of EfficientDet.

    Args:
      backbone: a functional model of one image [B, height, width, 3].
      images: Keras tensor [B, H, W, 3], normalised by the mean_rgb and stddev_rgb of `model`.
    Raises:
      ConfigError: there are no features of 1/8, 1/16 or 1/32 of the image.
    """
    copy = _copied(backbone, model.backbone_name, weight_decay)
    taps = copy.outputs if len(copy.outputs) > 1 else _taps(copy)
    # `call` builds the layers into the graph of `images`, where calling the model would nest it.
    features = tf.nest.flatten(
        keras.Model(copy.inputs[0], taps).call(_prepared(images, backbone, model))
    )
    levels = {size: level for level, size in enumerate(feature_sizes(model.image_size, 5))}
    shapes = [tuple(feature.shape[1:3]) for feature in features]
    found = {levels.get(shape): f for shape, f in zip(shapes, features, strict=True)}
    missing = [size for size, level in levels.items() if level in (3, 4, 5) and level not in found]
    if missing:
        raise ConfigError(
            f'{backbone.name} gives no features of {missing} for images of {model.image_size}; its '
            f'sizes are {sorted(set(shapes), reverse=True)}. Other sizes of images may fit, or a '
            'network whose outputs are its features: keras.Model(inputs, [a, b, c])'
        )
    return {level: feature for level, feature in found.items() if level}


def of_one_graph(network: keras.Model) -> keras.Model:
    """The same network with the same weights, of layers that belong to no other graph.

    Layers of `applied` are in the graph of the copied backbone, too, and Keras would take their
    `output` from there.
    """
    again = type(network).from_config(network.get_config())
    for layer in network.layers:
        again.get_layer(layer.name).set_weights(layer.get_weights())
    return again


def _prepared(images, backbone, model):
    """Normalised images as the network takes them; unchanged for one that is not known."""
    has_layer = any(
        isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization)
        for layer in backbone.layers
    )
    known = [mode for start, mode in _FAMILIES if re.match(start, backbone.name.lower())]
    if not has_layer and not known:
        return images
    factor, offset, reverse = (1.0, 0.0, False) if has_layer else known[0]
    step = -1 if reverse else 1
    mean, stddev = (np.array(values)[::step] for values in (model.mean_rgb, model.stddev_rgb))
    return Preprocessing(
        stddev * factor, mean * factor + offset, reverse, name=f'{model.backbone_name}.prepared'
    )(images)


def _copied(backbone, name, weight_decay):
    """The network with the same weights; '<name>.' stands before the names of its layers."""

    def copy(layer):
        settings = {**layer.get_config(), 'name': f'{name}.{layer.name}'}
        if isinstance(layer, keras.layers.BatchNormalization):
            return BatchNorm.from_config({**settings, 'synchronized': True})
        kernel = next((k for k in _KERNELS if k in settings), None)
        if weight_decay and kernel:
            settings[kernel] = keras.regularizers.L2(weight_decay / 2.0)
        return type(layer).from_config(settings)

    copied = keras.models.clone_model(backbone, clone_function=copy)
    copied.set_weights(backbone.get_weights())
    return copied


def _taps(network):
    """Tensors of a network, of which the last one of each size is its feature."""
    layers = [
        layer
        for layer in network.layers
        if not isinstance(layer, keras.layers.InputLayer)
        and len(getattr(layer.output, 'shape', ())) == 4
    ]
    sums = [layer for layer in layers if isinstance(layer, keras.layers.Add)]
    return [*(x.output for x in layers), *(_activated(x, layers).output for x in sums)]


def _activated(layer, layers):
    """The activation that alone follows a layer, or the layer itself."""
    after = [
        other
        for other in layers
        if any(tensor is layer.output for tensor in inputs_of_call(other, 0))
    ]
    follows = len(after) == 1 and isinstance(after[0], keras.layers.Activation | keras.layers.ReLU)
    return after[0] if follows else layer
