"""Several detectors, or one detector and its view in the mirror, as one.

A detector here is a function (prepared images [B, H, W, 3], scale back [B]) -> detections, as `models.detect_batch` makes
it; so is every result, and `evaluate` takes it in place of a model.
"""

import numpy as np
import tensorflow as tf

from keras_efficientdet.ops.box_fusion import weighted_box_fusion
from keras_efficientdet.ops.boxes import flip_horizontally
from keras_efficientdet.ops.numpy_nms import padded


def fused(detectors, max_output_size=100):
    """One detector out of several: their detections joined by `weighted_box_fusion`, the best `max_output_size` kept."""

    def run(prepared, scale_back):
        found = [
            {k: np.asarray(v) for k, v in detect(prepared, scale_back).items()}
            for detect in detectors
        ]
        images = [
            [
                np.concatenate([f[key][i, : f['count'][i]] for f in found])
                for key in ('boxes', 'scores', 'classes')
            ]
            for i in range(len(prepared))
        ]
        return padded(
            [weighted_box_fusion(*image, len(detectors)) for image in images], max_output_size
        )

    return run


def mirrored(detect):
    """The detector that looks at the pictures in the mirror; its boxes are mirrored back. Padding rows stay 0."""

    def run(prepared, scale_back):
        found = detect(tf.reverse(prepared, [2]), scale_back)
        width = (
            tf.cast(tf.shape(prepared)[2], tf.float32) * scale_back
        )  # [B], of the original picture
        boxes = flip_horizontally(found['boxes'], width[:, None])
        real = tf.sequence_mask(found['count'], tf.shape(boxes)[1])
        return {**found, 'boxes': tf.where(real[..., None], boxes, 0.0)}

    return run


def flip_test(detect, max_output_size=100):
    """Test-time augmentation: the detections of each picture and of its mirror image, fused."""
    return fused([detect, mirrored(detect)], max_output_size)
