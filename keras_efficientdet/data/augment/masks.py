"""Hides parts of an image, so that a detector learns to look at more than one part of an object.

Boxes stay as they are.
"""

import math

import tensorflow as tf

from keras_efficientdet.data.augment.affine import GREY

GRID_PROBABILITY = 0.6
GRID_KEPT = 0.6  # of each side of a grid cell
GRID_CELL = (0.25, 0.5)  # range of a cell's side, as a share of the image's shorter side
GRID_DEGREES = 10.0


def cutout(image, centre, half, fill=GREY):
    """Fills the rectangle from centre - half to centre + half of an image [H, W, 3].

    centre, half: int32 (y, x), in pixels.

    Source: DeVries and Taylor 2017; tfa.image.cutout.
    """
    height, width = tf.unstack(tf.shape(image)[:2])
    rows = _between(height, centre[0] - half[0], centre[0] + half[0])
    columns = _between(width, centre[1] - half[1], centre[1] + half[1])
    inside = rows[:, None] & columns
    return tf.where(inside[..., None], tf.cast(fill, image.dtype), image)


def _between(count, first, end):
    """bool [count]: places from `first` to before `end`."""
    places = tf.range(count)
    return (first <= places) & (places < end)


def random_cutout(image, half, seed):
    """`cutout` of a square at a random place. half: int32 scalar, pixels; seed: int [2]."""
    return cutout(image, _place(tf.shape(image)[:2], seed), (half, half))


def box_cutout(image, boxes, share, seed):
    """Hides up to `share` (0..1) of the height and of the width of one box, if there is any."""

    def hide():
        seeds = tf.random.experimental.stateless_split(seed, 2)
        drawn = tf.random.stateless_uniform([], seeds[0], 0, tf.shape(boxes)[0], tf.int32)
        box = tf.gather(boxes, drawn)
        corner = tf.cast(box[:2], tf.int32)
        size = tf.maximum(1, tf.cast(box[2:] - box[:2], tf.int32))
        half = tf.cast(tf.cast(size, tf.float32) * share / 2.0, tf.int32)
        return cutout(image, corner + _place(size, seeds[1]), tf.unstack(half))

    return tf.cond(tf.shape(boxes)[0] > 0, hide, lambda: image)


def _place(size, seed):
    """int32 [2]: a random pixel of a rectangle of `size` (height, width)."""
    return tf.cast(tf.random.stateless_uniform([2], seed) * tf.cast(size, tf.float32), tf.int32)


def grid_mask(image, seed):
    """Blackens a slightly turned grid of squares, in six images of ten. seed: int [2].

    Cell side, offset and angle are drawn for each image.

    Source: Chen et al. 2020, GridMask (arXiv 2001.04086).
    """
    chance, side, y, x, turn = tf.unstack(tf.random.stateless_uniform([5], seed))
    hidden = tf.cond(
        chance < GRID_PROBABILITY,
        lambda: _grid(tf.shape(image), side, (y, x), turn),
        lambda: tf.zeros(tf.shape(image)[:2], tf.bool),
    )
    return tf.where(hidden[..., None], tf.zeros_like(image), image)


def _grid(shape, side, offset, turn):
    """bool [H, W]: the hidden pixels; side, offset and turn are draws in 0..1."""
    shorter = tf.cast(tf.reduce_min(shape[:2]), tf.float32)
    cell = shorter * (GRID_CELL[0] + (GRID_CELL[1] - GRID_CELL[0]) * side)
    angle = (2.0 * turn - 1.0) * GRID_DEGREES * math.pi / 180.0
    y = tf.cast(tf.range(shape[0])[:, None], tf.float32) / cell
    x = tf.cast(tf.range(shape[1])[None], tf.float32) / cell
    y_turned = tf.cos(angle) * y - tf.sin(angle) * x + offset[0]
    x_turned = tf.sin(angle) * y + tf.cos(angle) * x + offset[1]
    y_hidden = tf.math.floormod(y_turned, 1.0) >= GRID_KEPT
    x_hidden = tf.math.floormod(x_turned, 1.0) >= GRID_KEPT
    return y_hidden & x_hidden
