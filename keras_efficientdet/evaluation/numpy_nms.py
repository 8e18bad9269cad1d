"""The official numpy NMS (`nms_configs.pyfunc`), for comparison with metrics computed with it.

It differs from `ops.nms`: sides are counted as last - first + 1 pixels, and nothing is clipped.
"""

import collections.abc

import keras
import tensorflow as tf

from keras_efficientdet.config import Config
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.ops import images
from keras_efficientdet.ops.numpy_nms import padded, per_class


def detect_batch(model: keras.Model, config: Config) -> collections.abc.Callable:
    """Like `network.detector.detect_batch`, with this NMS. Give it to `evaluate` as the model.

    `config.detect.method` may be any of config.NMS_METHODS.

    Returns:
      A function (images float32 [B, H, W, 3], scale float32 [B]) -> detections.
    Raises:
      ConfigError: per_class=false, which the official numpy NMS does not have, or a head without
        candidates.
    """
    detect = config.detect
    if not detect.per_class:
        raise ConfigError(
            'per_class=false: the numpy NMS goes class by class; leave out --numpy_nms or per_class'
        )
    head = head_of(config)
    if head.candidates is None:
        raise ConfigError(
            f'the numpy NMS needs the candidates of a head, and the head {config.model.head!r} has '
            'none; leave --numpy_nms out to use its own post-processing'
        )
    settings = {
        'method': detect.method,
        'iou_thresh': detect.iou_thresh,
        'sigma': detect.sigma,
        'score_thresh': detect.score_thresh,
        'max_output_size': detect.max_output_size,
    }
    candidates = tf.function(
        lambda prepared: head.candidates(model(prepared, training=False), config),
        reduce_retracing=True,
    )

    def run(prepared, scale_back):
        boxes, scores, classes = (part.numpy() for part in candidates(prepared))
        rows = [per_class(*image, **settings) for image in zip(boxes, scores, classes, strict=True)]
        found = padded(rows, detect.max_output_size)
        return {**found, 'boxes': images.undo(found['boxes'], scale_back)}

    return run
