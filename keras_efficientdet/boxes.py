"""Arithmetic of boxes. Every box is [..., 4] = ymin, xmin, ymax, xmax, in pixels unless a name says otherwise."""
import tensorflow as tf


def area(boxes):
    """[..., 4] -> [...]; negative for a box with one side turned inside out."""
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    return (ymax - ymin) * (xmax - xmin)


def iou(a, b):
    """Intersection over union of every pair: [..., N, 4], [..., M, 4] -> [..., N, M]; 0 where nothing is shared."""
    top_left = tf.maximum(a[..., :, None, :2], b[..., None, :, :2])        # [..., N, M, 2]
    bottom_right = tf.minimum(a[..., :, None, 2:], b[..., None, :, 2:])
    shared = tf.reduce_prod(tf.maximum(bottom_right - top_left, 0.), -1)   # [..., N, M]
    union = area(a)[..., :, None] + area(b)[..., None, :] - shared
    return tf.where(shared > 0., shared / tf.where(shared > 0., union, 1.), 0.)


def clip(boxes, height, width):
    """Cuts boxes to 0 <= y <= height, 0 <= x <= width (scalars or tensors that broadcast with [...])."""
    limit = tf.cast(tf.stack([height, width, height, width], -1), boxes.dtype)
    return tf.clip_by_value(boxes, 0., limit)


def flip_horizontally(boxes, width):
    """Mirrors boxes of an image that is `width` pixels wide (in the unit of the boxes; 1.0 for normalised boxes)."""
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    return tf.stack([ymin, width - xmax, ymax, width - xmin], -1)
