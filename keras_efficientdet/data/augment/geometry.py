"""Flips and scale jitter: one picture and its boxes, moved by given draws."""

import tensorflow as tf

from keras_efficientdet.ops import images
from keras_efficientdet.ops.boxes import area, clip, flip_horizontally, flip_vertically


def random_flip(image, boxes, draw):
    """Mirrors picture [H, W, 3] and boxes [N, 4] (pixels) where `draw` (uniform in 0..1) is above one half."""
    width = tf.cast(tf.shape(image)[1], tf.float32)
    return tf.cond(
        draw > 0.5,
        lambda: (tf.reverse(image, [1]), flip_horizontally(boxes, width)),
        lambda: (image, boxes),
    )


def random_vertical_flip(image, boxes, draw):
    """Turns picture [H, W, 3] and boxes [N, 4] (pixels) upside down where `draw` (uniform in 0..1) is above one half."""
    height = tf.cast(tf.shape(image)[0], tf.float32)
    return tf.cond(
        draw > 0.5,
        lambda: (tf.reverse(image, [0]), flip_vertically(boxes, height)),
        lambda: (image, boxes),
    )


def scale_jitter(image, boxes, size, jitter_min, jitter_max, draws, finish=None):
    """Scales the picture to a random multiple of `size` and cuts or pads it to `size`.

    Args:
      image: [H, W, 3], normalised, or with `finish` to do that (see `images.resize_and_pad`). boxes: float32 [N, 4], pixels.
      draws: three uniform numbers in 0..1: scale, y offset, x offset.
    Returns:
      image float32 [height, width, 3]; boxes float32 [N, 4] in its pixels, cut to 0 <= y <= height - 1, 0 <= x <= width - 1,
      where boxes outside the crop have no area; scale float32 scalar.
    Source: google/automl dataloader.InputProcessor.set_training_random_scale_factors.
    """
    image_hw = tf.unstack(tf.shape(image)[:2])
    factor = jitter_min + (jitter_max - jitter_min) * draws[0]
    target = [tf.cast(tf.cast(n, tf.float32) * factor, tf.int32) for n in size]
    scale = images.fit_scale(image_hw, target)
    scaled = images.scaled_size(image_hw, scale)
    spare = tf.cast(tf.maximum(0, scaled - tf.constant(size)), tf.float32)
    offset = tf.cast(spare * tf.stack(draws[1:3]), tf.int32)
    image = images.resize_and_pad(image, size, scale, tf.unstack(offset), finish)
    return image, move_boxes(boxes, image_hw, scaled, offset, size), scale


def move_boxes(boxes, image_hw, scaled, offset, size):
    """Boxes [N, 4] of a picture of image_hw after it was scaled to `scaled`, moved by -offset and cut to `size`."""
    ratio = tf.tile(tf.cast(scaled, tf.float32) / tf.cast(tf.stack(image_hw), tf.float32), [2])
    moved = boxes * ratio - tf.tile(tf.cast(offset, tf.float32), [2])
    limit = tf.cast(tf.tile(tf.constant(size) - 1, [2]), tf.float32)
    return tf.clip_by_value(moved, 0.0, limit)


def within(boxes, height, width):
    """Boxes [N, 4] cut to a picture. A row without area becomes all 0: no later rotation or shear gives it one again."""
    cut = clip(boxes, height, width)
    return tf.where(with_area(cut)[:, None], cut, 0.0)


def with_area(boxes):
    """bool [N]: boxes that still have an area."""
    return area(boxes) > 0.0
