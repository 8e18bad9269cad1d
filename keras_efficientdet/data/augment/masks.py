"""Parts of a picture hidden, so that a detector looks at more than one part of an object. Boxes stay as they are."""

import math

import tensorflow as tf

from keras_efficientdet.data.augment.affine import GREY

GRID_PROBABILITY = 0.6
GRID_KEPT = 0.6  # of each side of a grid cell
GRID_CELL = (0.25, 0.5)  # side of a cell, of the picture's shorter side
GRID_DEGREES = 10.0


def cutout(image, centre, half, fill=GREY):
    """Fills the rectangle from centre - half to centre + half of picture [H, W, 3]; both int32 (y, x), pixels.

    Source: DeVries and Taylor 2017; tfa.image.cutout.
    """
    rows, columns = (tf.range(n) for n in tf.unstack(tf.shape(image)[:2]))
    inside = [
        (centre[k] - half[k] <= places) & (places < centre[k] + half[k])
        for k, places in enumerate((rows, columns))
    ]
    return tf.where((inside[0][:, None] & inside[1])[..., None], tf.cast(fill, image.dtype), image)


def random_cutout(image, half, seed):
    """`cutout` of a square, its centre anywhere. half: int32 scalar, pixels; seed: int [2]."""
    return cutout(image, _place(tf.shape(image)[:2], seed), (half, half))


def box_cutout(image, boxes, share, seed):
    """Hides up to `share` (0..1) of the height and of the width inside one box. Nothing where there are no boxes."""

    def hide():
        seeds = tf.random.experimental.stateless_split(seed, 2)
        box = tf.gather(
            boxes, tf.random.stateless_uniform([], seeds[0], 0, tf.shape(boxes)[0], tf.int32)
        )
        corner, size = (
            tf.cast(box[:2], tf.int32),
            tf.maximum(1, tf.cast(box[2:] - box[:2], tf.int32)),
        )
        half = tf.cast(tf.cast(size, tf.float32) * share / 2.0, tf.int32)
        return cutout(image, corner + _place(size, seeds[1]), tf.unstack(half))

    return tf.cond(tf.shape(boxes)[0] > 0, hide, lambda: image)


def _place(size, seed):
    """int32 [2]: a pixel of a rectangle of `size` (height, width)."""
    return tf.cast(tf.random.stateless_uniform([2], seed) * tf.cast(size, tf.float32), tf.int32)


def grid_mask(image, seed):
    """Blackens a grid of squares, slightly turned, in six pictures of ten. seed: int [2].

    Source: Chen et al. 2020, GridMask (arXiv 2001.04086): cell side, offset and angle are drawn for each picture.
    """
    chance, side, y, x, turn = tf.unstack(tf.random.stateless_uniform([5], seed))
    hidden = tf.cond(
        chance < GRID_PROBABILITY,
        lambda: _grid(tf.shape(image), side, (y, x), turn),
        lambda: tf.zeros(tf.shape(image)[:2], tf.bool),
    )
    return tf.where(hidden[..., None], tf.zeros_like(image), image)


def _grid(shape, side, offset, turn):
    """bool [H, W]: the hidden pixels; all draws in 0..1."""
    shorter = tf.cast(tf.reduce_min(shape[:2]), tf.float32)
    cell = shorter * (GRID_CELL[0] + (GRID_CELL[1] - GRID_CELL[0]) * side)
    angle = (2.0 * turn - 1.0) * GRID_DEGREES * math.pi / 180.0
    y, x = tf.range(shape[0])[:, None], tf.range(shape[1])[None]
    y, x = tf.cast(y, tf.float32) / cell, tf.cast(x, tf.float32) / cell
    turned = (
        tf.cos(angle) * y - tf.sin(angle) * x + offset[0],
        tf.sin(angle) * y + tf.cos(angle) * x + offset[1],
    )
    hidden = [tf.math.floormod(v, 1.0) >= GRID_KEPT for v in turned]
    return hidden[0] & hidden[1]
