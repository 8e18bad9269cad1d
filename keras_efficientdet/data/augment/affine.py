"""Rotation, translation and shear of a picture, and boxes that follow it: each becomes the hull of its moved corners."""

import math

import tensorflow as tf

from keras_efficientdet.data.augment.geometry import within

GREY = 128  # what comes in from outside of the picture


def rotate(image, boxes, degrees):
    """Counterclockwise around the centre. image uint8 [H, W, 3], boxes float32 [N, 4] pixels -> the same."""
    height, width = _last_pixel(image)
    angle = degrees * (math.pi / 180.0)
    cos, sin = tf.cos(angle), tf.sin(angle)
    return _warp(
        image,
        boxes,
        (
            cos,
            -sin,
            (width - (cos * width - sin * height)) / 2.0,
            sin,
            cos,
            (height - (sin * width + cos * height)) / 2.0,
        ),
    )


def translate_x(image, boxes, pixels):
    """To the right, or for a negative number to the left."""
    return _warp(image, boxes, (1.0, 0.0, -pixels, 0.0, 1.0, 0.0))


def translate_y(image, boxes, pixels):
    """Down, or for a negative number up."""
    return _warp(image, boxes, (1.0, 0.0, 0.0, 0.0, 1.0, -pixels))


def shear_x(image, boxes, slope):
    """Row y moves to the left by slope * y pixels."""
    return _warp(image, boxes, (1.0, slope, 0.0, 0.0, 1.0, 0.0))


def shear_y(image, boxes, slope):
    """Column x moves up by slope * x pixels."""
    return _warp(image, boxes, (1.0, 0.0, 0.0, slope, 1.0, 0.0))


def _last_pixel(image):
    return tf.unstack(tf.cast(tf.shape(image)[:2] - 1, tf.float32))


def _warp(image, boxes, matrix):
    """Pixel (x, y) of the result is the nearest to (a x + b y + c, d x + e y + f) of the picture; matrix (a, b, c, d, e, f)."""
    transform = tf.stack([tf.cast(v, tf.float32) for v in (*matrix, 0.0, 0.0)])
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=transform[None],
        output_shape=tf.shape(image)[:2],
        interpolation='NEAREST',
        fill_mode='CONSTANT',
        fill_value=tf.constant(GREY, tf.float32),
    )[0]
    moved.set_shape(image.shape)
    height, width = tf.unstack(tf.shape(image)[:2])
    return moved, within(_hull(boxes, tf.unstack(transform[:6])), height, width)


def _hull(boxes, matrix):
    """Boxes [N, 4] around the corners of `boxes` where the picture has moved them: the inverse of the matrix."""
    a, b, c, d, e, f = matrix
    ymin, xmin, ymax, xmax = tf.unstack(
        boxes - 0.5, axis=-1
    )  # matrices count from the middle of the first pixel
    x, y = (
        tf.stack([xmin, xmax, xmin, xmax], -1) - c,
        tf.stack([ymin, ymin, ymax, ymax], -1) - f,
    )  # [N, 4 corners]
    determinant = a * e - b * d
    x, y = (e * x - b * y) / determinant + 0.5, (a * y - d * x) / determinant + 0.5
    return tf.stack(
        [tf.reduce_min(y, -1), tf.reduce_min(x, -1), tf.reduce_max(y, -1), tf.reduce_max(x, -1)], -1
    )
