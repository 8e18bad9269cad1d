"""Flips and scale jitter: an image moved by given draws, and the Transform that tells where."""

import tensorflow as tf

from keras_efficientdet.data.augment.annotations import axis_aligned
from keras_efficientdet.ops import images


def random_flip(image, draw):
    """Mirrors an image [H, W, 3] where `draw` (uniform in 0..1) is above one half."""
    return _flip(image, draw, axis=1)


def random_vertical_flip(image, draw):
    """Turns an image [H, W, 3] upside down where `draw` (uniform in 0..1) is above one half."""
    return _flip(image, draw, axis=0)


def _flip(image, draw, axis):
    """(image, Transform); axis: 0 for y, 1 for x."""
    flips = draw > 0.5
    size = tf.shape(image)[:2]
    flipped = tf.cond(flips, lambda: tf.reverse(image, [axis]), lambda: image)
    scale, shift = [1.0, 1.0], [0.0, 0.0]
    scale[axis] = tf.where(flips, -1.0, 1.0)
    shift[axis] = tf.where(flips, tf.cast(size[axis], tf.float32), 0.0)
    return flipped, axis_aligned(scale, shift, size)


def scale_jitter(image, size, jitter_min, jitter_max, draws, finish=None):
    """Scales an image to a random multiple of `size`, then crops or pads it to `size`.

    Args:
      image: [H, W, 3], normalised, or with `finish` to do that (see `images.resize_and_pad`).
      size: (height, width) of the result.
      jitter_min, jitter_max: range of the multiple.
      draws: three uniform numbers in 0..1: scale, y offset, x offset.
    Returns:
      image float32 [height, width, 3] and its Transform, which clips boxes to
      0 <= y <= height - 1, 0 <= x <= width - 1.
    Source: google/automl dataloader.InputProcessor.set_training_random_scale_factors.
    """
    image_hw = tf.unstack(tf.shape(image)[:2])
    factor = jitter_min + (jitter_max - jitter_min) * draws[0]
    target = [tf.cast(tf.cast(side, tf.float32) * factor, tf.int32) for side in size]
    scale = images.fit_scale(image_hw, target)
    scaled = images.scaled_size(image_hw, scale)
    spare = tf.cast(tf.maximum(0, scaled - tf.constant(size)), tf.float32)
    offset = tf.cast(spare * tf.stack(draws[1:3]), tf.int32)
    image = images.resize_and_pad(image, size, scale, tf.unstack(offset), finish)
    return image, scaled_and_cropped(image_hw, scaled, offset, size)


def scaled_and_cropped(image_hw, scaled, offset, size):
    """The Transform of an image of image_hw that was scaled to `scaled`, then cropped to `size`.

    Args:
      image_hw, scaled: (height, width), integers. size: (height, width), Python integers.
      offset: (y, x) of the crop in the scaled image, int32.
    """
    ratio = tf.cast(scaled, tf.float32) / tf.cast(tf.stack(image_hw), tf.float32)
    # The official code clips to the last pixel's index, one less than the side.
    bounds = [[0.0, 0.0], [size[0] - 1.0, size[1] - 1.0]]
    shift = -tf.cast(offset, tf.float32)
    return axis_aligned(tf.unstack(ratio), tf.unstack(shift), size, bounds)
