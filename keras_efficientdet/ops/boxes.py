"""Arithmetic of boxes [..., 4] = ymin, xmin, ymax, xmax, in pixels unless stated otherwise."""

import tensorflow as tf


def area(boxes):
    """[..., 4] -> [...]; negative for a box with one negative side."""
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    return (ymax - ymin) * (xmax - xmin)


def iou(a, b):
    """Intersection over union of all pairs: [..., N, 4], [..., M, 4] -> [..., N, M]."""
    top, left, bottom, right = tf.unstack(a[..., :, None, :], axis=-1)  # [..., N, 1]
    ymin, xmin, ymax, xmax = tf.unstack(b[..., None, :, :], axis=-1)  # [..., 1, M]
    height = tf.minimum(bottom, ymax) - tf.maximum(top, ymin)  # [..., N, M]
    width = tf.minimum(right, xmax) - tf.maximum(left, xmin)
    shared = tf.nn.relu(height) * tf.nn.relu(width)
    union = area(a)[..., :, None] + area(b)[..., None, :] - shared
    return tf.math.divide_no_nan(shared, union)


def clip(boxes, height, width):
    """Clips boxes to 0 <= y <= height, 0 <= x <= width: scalars, or tensors that broadcast."""
    limit = tf.cast(tf.stack([height, width, height, width], -1), boxes.dtype)
    return tf.clip_by_value(boxes, 0.0, limit)


def flip_horizontally(boxes, width):
    """Mirrors boxes left to right in an image of this width, in the unit of the boxes."""
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    return tf.stack([ymin, width - xmax, ymax, width - xmin], -1)
