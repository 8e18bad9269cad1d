"""A network with its pre- and post-processing."""

from collections.abc import Callable

import keras
import tensorflow as tf

from keras_efficientdet.config import Config, load_config
from keras_efficientdet.network.detection_model import DetectionModel
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.ops import class_masks, images

_register = keras.saving.register_keras_serializable('keras_efficientdet')


DETECTIONS = ('boxes', 'scores', 'classes', 'count')


def detections(
    outputs: dict, scale_back: tf.Tensor, config: Config, sizes: tf.Tensor | None = None
) -> dict:
    """What the network found, in pixels of the original images.

    Args:
      outputs: of the network, {name: tensor [B, ...]}, as the configured head builds them.
      scale_back: float32 [B], the second result of `images.prepare`.
      sizes: int32 [B, 2] height, width of the original images, to which boxes are clipped. None:
        boxes are clipped to the network's input only, as the official evaluation does.
    Returns:
      {'boxes': float32 [B, D, 4] ymin xmin ymax xmax, 'scores': float32 [B, D], 'classes': int32
      [B, D] 0-based, 'count': int32 [B]}, best first, rows from `count` on are 0. Of a head with
      masks also 'mask': uint8 [B, height, width] in pixels of the images, or of the network's
      input without `sizes`; 0 is the background, k + 1 the class k, 255 beyond smaller images.
    """
    head = head_of(config)
    boxes, scores, classes, count = head.detect(outputs, config)
    boxes = images.undo(boxes, scale_back, sizes)
    found = dict(zip(DETECTIONS, (boxes, scores, classes, count), strict=True))
    if head.mask is None:
        return found
    mask = head.mask(outputs, config)
    if sizes is not None:
        mask = class_masks.undo(mask, scale_back, sizes)
    return {**found, 'mask': mask}


@_register
class Prepare(keras.layers.Layer):
    """uint8 [B, H, W, 3] -> the two results of `images.prepare`, and `images.sizes` [B, 2]."""

    def __init__(self, size, mean_rgb, stddev_rgb, resize='pad', **kwargs):
        super().__init__(**kwargs)
        self.settings = {
            'size': tuple(size),
            'mean_rgb': tuple(mean_rgb),
            'stddev_rgb': tuple(stddev_rgb),
            'resize': resize,
        }

    def call(self, inputs):
        return *images.prepare(inputs, **self.settings), images.sizes(inputs)

    def get_config(self):
        return {**super().get_config(), **self.settings}


@_register
class Detect(keras.layers.Layer):
    """`detections` as a layer: network outputs, scale back [B], sizes [B, 2] -> detections.

    Models that were saved before boxes were clipped to the image have no `sizes`.
    """

    def __init__(self, detection_config, **kwargs):
        # Pixels need float32 under every dtype policy; a saved layer brings its dtype along.
        super().__init__(**{**kwargs, 'dtype': 'float32'})
        self.detection_config = load_config(Config(), detection_config)

    def call(self, outputs, scale_back, sizes=None):
        return detections(outputs, scale_back, self.detection_config, sizes)

    def get_config(self):
        return {**super().get_config(), 'detection_config': self.detection_config.to_dict()}


def detector(model: keras.Model, config: Config | None = None) -> keras.Model:
    """Joins a network with its pre- and post-processing.

    Args:
      model: the result of `efficientdet`.
      config: its Config, with other settings of `detect` if wanted; default: the one saved in the
        model.
    Returns:
      keras.Model from uint8 images [B, H, W, 3] of any size to {'boxes': float32 [B, D, 4] ymin
      xmin ymax xmax in pixels of the images and inside of them, 'scores': float32 [B, D],
      'classes': int32 [B, D] 0-based, 'count': int32 [B]}, best first, rows from `count` on are 0.
    """
    config = config or model.detection_config
    inputs = keras.Input((None, None, 3), dtype='uint8', name='images')
    prepared, scale_back, sizes = Prepare(
        config.model.image_size,
        config.model.mean_rgb,
        config.model.stddev_rgb,
        config.model.resize,
        name='prepare',
    )(inputs)
    detections = Detect(config.to_dict(), name='detect')(model(prepared), scale_back, sizes)
    whole = DetectionModel(inputs, detections, name=f'{config.model.name}-detector')
    whole.detection_config = config
    return whole


def is_detector(model: keras.Model) -> bool:
    """Whether a Keras model is the result of `detector`, not of `efficientdet`."""
    return isinstance(model.output, dict) and set(DETECTIONS) <= set(model.output)


def detect_batch(model: keras.Model, config: Config) -> Callable:
    """A tf.function (prepared images float32 [B, H, W, 3], scale back [B]) -> `detections`."""

    @tf.function(reduce_retracing=True)
    def run(prepared, scale_back):
        return detections(model(prepared, training=False), scale_back, config)

    return run
