"""Several detectors, or one detector and its view of the mirrored image, as one detector.

A detector here is a function (prepared images float32 [B, H, W, 3], scale float32 [B]) ->
detections, as `network.detector.detect_batch` makes it. So is every result of this module, and
`evaluate` takes it in place of a model.
"""

import collections.abc

import numpy as np
import tensorflow as tf

from keras_efficientdet.ops.box_fusion import weighted_box_fusion
from keras_efficientdet.ops.boxes import flip_horizontally
from keras_efficientdet.ops.numpy_nms import padded


def fused(detectors: list, max_output_size: int = 100) -> collections.abc.Callable:
    """One detector out of several: their detections, joined by `weighted_box_fusion`.

    The best `max_output_size` detections of each image are kept.
    """

    def run(prepared, scale_back):
        found = []
        for detect in detectors:
            detections = detect(prepared, scale_back)
            found.append({key: np.asarray(value) for key, value in detections.items()})
        rows = []
        for i in range(len(prepared)):
            boxes, scores, classes = (
                _joined(found, key, i) for key in ('boxes', 'scores', 'classes')
            )
            rows.append(weighted_box_fusion(boxes, scores, classes, len(detectors)))
        return padded(rows, max_output_size)

    return run


def _joined(found, key, i):
    """Values of image `i` of all detectors, without the padding."""
    return np.concatenate([one[key][i, : one['count'][i]] for one in found])


def mirrored(detect: collections.abc.Callable) -> collections.abc.Callable:
    """The detector that sees each image mirrored; its boxes are mirrored back.

    Padding rows stay 0, and a mask is mirrored back.
    """

    def run(prepared, scale_back):
        found = detect(tf.reverse(prepared, [2]), scale_back)
        prepared_width = tf.cast(tf.shape(prepared)[2], tf.float32)
        width = prepared_width * scale_back  # [B], in pixels of the original image
        boxes = flip_horizontally(found['boxes'], width[:, None])
        real = tf.sequence_mask(found['count'], tf.shape(boxes)[1])
        masks = {'mask': tf.reverse(found['mask'], [2])} if 'mask' in found else {}
        return {**found, **masks, 'boxes': tf.where(real[..., None], boxes, 0.0)}

    return run


def flip_test(
    detect: collections.abc.Callable, max_output_size: int = 100
) -> collections.abc.Callable:
    """Test-time augmentation: the detections of each image and of its mirror image, fused."""
    return fused([detect, mirrored(detect)], max_output_size)
