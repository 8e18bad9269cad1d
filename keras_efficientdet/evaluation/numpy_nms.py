"""The official numpy NMS (`nms_configs.pyfunc`), for figures that are compared with those evaluated by it.

It differs from `postprocess`: sides are counted as last - first + 1 pixels, and nothing is clipped.
"""

import tensorflow as tf

from keras_efficientdet.errors import ConfigError
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.ops import images
from keras_efficientdet.ops.numpy_nms import padded, per_class


def detect_batch(model, config):
    """Like `models.detect_batch`, with this NMS: a function (images [B, H, W, 3], scale back [B]) -> detections.

    Give it to `evaluate` in place of the model. `config.detect.method` may be any of config.NMS_METHODS. Raises
    ConfigError for per_class=false, which the official numpy NMS does not have, and for a head without candidates.
    """
    detect = config.detect
    if not detect.per_class:
        raise ConfigError(
            'per_class=false: the numpy NMS goes class by class; leave --numpy_nms or per_class out'
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
        rows = zip(*(part.numpy() for part in candidates(prepared)), strict=True)
        found = padded([per_class(*row, **settings) for row in rows], detect.max_output_size)
        return {**found, 'boxes': images.undo(found['boxes'], scale_back)}

    return run
