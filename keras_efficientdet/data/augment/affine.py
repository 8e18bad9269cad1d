"""Rotation, translation and shear: (image uint8 [H, W, 3], amount) -> (image, Transform)."""

import math

import tensorflow as tf

from keras_efficientdet.data.augment.annotations import transform

GREY = 128  # fills what comes in from outside of the image


def rotate(image, degrees):
    """Counterclockwise around the centre."""
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2] - 1, tf.float32))
    angle = degrees * (math.pi / 180.0)
    cos = tf.cos(angle)
    sin = tf.sin(angle)
    x_shift = (width - (cos * width - sin * height)) / 2.0
    y_shift = (height - (sin * width + cos * height)) / 2.0
    return _warp(image, (cos, -sin, x_shift, sin, cos, y_shift))


def translate_x(image, pixels):
    """To the right, or for a negative number to the left."""
    return _warp(image, (1.0, 0.0, -pixels, 0.0, 1.0, 0.0))


def translate_y(image, pixels):
    """Down, or for a negative number up."""
    return _warp(image, (1.0, 0.0, 0.0, 0.0, 1.0, -pixels))


def shear_x(image, slope):
    """Row y moves to the left by slope * y pixels."""
    return _warp(image, (1.0, slope, 0.0, 0.0, 1.0, 0.0))


def shear_y(image, slope):
    """Column x moves up by slope * x pixels."""
    return _warp(image, (1.0, 0.0, 0.0, slope, 1.0, 0.0))


def _warp(image, inverse):
    """Pixel (x, y) of the result is the nearest to (a x + b y + c, d x + e y + f) of the image.

    inverse: (a, b, c, d, e, f), which leads from the result to the image.
    """
    coefficients = tf.stack([tf.cast(v, tf.float32) for v in (*inverse, 0.0, 0.0)])
    size = tf.shape(image)[:2]
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=coefficients[None],
        output_shape=size,
        interpolation='NEAREST',
        fill_mode='CONSTANT',
        fill_value=tf.constant(GREY, tf.float32),
    )[0]
    warped.set_shape(image.shape)
    return warped, _forward(tf.unstack(coefficients[:6]), size)


def _forward(inverse, size):
    """The Transform that leads from the image to the result of a warp."""
    a, b, c, d, e, f = inverse
    # A warp counts from the centre of the first pixel, a Transform from its corner.
    c, f = c + 0.5, f + 0.5
    determinant = a * e - b * d
    y_row = (a / determinant, -d / determinant, (d * c - a * f) / determinant + 0.5)
    x_row = (-b / determinant, e / determinant, (b * f - e * c) / determinant + 0.5)
    corner = tf.cast(size, tf.float32)
    return transform(y_row, x_row, size, tf.stack([tf.zeros([2]), corner]))
