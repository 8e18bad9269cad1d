"""Changes of the pixels inside the boxes alone. The boxes stay where they are."""

import tensorflow as tf


def in_boxes(image, boxes, change, probability, seed):
    """Applies `change` to the inside of each box, with a draw for each.

    Args:
      image: uint8 [H, W, 3]. boxes: float32 [N, 4], pixels.
      change: function (uint8 [h, w, 3], seed int [2]) -> uint8 [h, w, 3].
      probability: float scalar. seed: int [2].
    Returns:
      uint8 [H, W, 3].
    Source: Zoph et al. 2019 (arXiv 1906.11172), the BBox_Only operations.
    """
    count = tf.shape(boxes)[0]
    chosen = tf.random.stateless_uniform([count], seed) < probability
    seeds = tf.random.experimental.stateless_split(seed, count)

    def one(k, so_far):
        top, left, bottom, right = _pixels(boxes[k], tf.shape(image))
        wanted = chosen[k] & (top < bottom) & (left < right)
        after = tf.cond(
            wanted,
            lambda: _changed(so_far, (top, left, bottom, right), lambda p: change(p, seeds[k])),
            lambda: so_far,
        )
        return k + 1, after

    shapes = (tf.TensorShape([]), image.shape)
    _, changed = tf.while_loop(
        lambda k, _: k < count, one, (tf.constant(0), image), shape_invariants=shapes
    )
    return changed


def _pixels(box, shape):
    """int32 (top, left, bottom, right) in whole pixels, clipped to the image."""
    limit = tf.tile(shape[:2], [2])
    return tf.unstack(tf.clip_by_value(tf.cast(tf.round(box), tf.int32), 0, limit))


def _changed(image, pixels, change):
    top, left, bottom, right = pixels
    shape = tf.shape(image)
    patch = change(image[top:bottom, left:right])
    around = [[top, shape[0] - bottom], [left, shape[1] - right], [0, 0]]
    inside = tf.pad(tf.ones_like(patch, tf.bool), around)
    changed = tf.where(inside, tf.pad(patch, around), image)
    changed.set_shape(image.shape)
    return changed
