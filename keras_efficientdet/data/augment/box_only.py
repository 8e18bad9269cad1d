"""Changes to what is inside the boxes alone. Boxes stay where they are."""

import tensorflow as tf


def in_boxes(image, boxes, change, probability, seed):
    """Applies `change` to the inside of each box, each with its own draw.

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

    def one(k, picture):
        top, left, bottom, right = _pixels(boxes[k], tf.shape(image))
        wanted = chosen[k] & (top < bottom) & (left < right)
        return k + 1, tf.cond(
            wanted,
            lambda: _changed(picture, (top, left, bottom, right), lambda p: change(p, seeds[k])),
            lambda: picture,
        )

    shapes = (tf.TensorShape([]), image.shape)
    return tf.while_loop(
        lambda k, _: k < count, one, (tf.constant(0), image), shape_invariants=shapes
    )[1]


def _pixels(box, shape):
    """int32 (top, left, bottom, right) of whole pixels inside the picture."""
    limit = tf.tile(shape[:2], [2])
    return tf.unstack(tf.clip_by_value(tf.cast(tf.round(box), tf.int32), 0, limit))


def _changed(picture, pixels, change):
    top, left, bottom, right = pixels
    shape = tf.shape(picture)
    patch = change(picture[top:bottom, left:right])
    around = [[top, shape[0] - bottom], [left, shape[1] - right], [0, 0]]
    inside = tf.pad(tf.ones_like(patch, tf.bool), around)
    changed = tf.where(inside, tf.pad(patch, around), picture)
    changed.set_shape(picture.shape)
    return changed
