"""Colour operations on images uint8 [H, W, 3].

They equal Pillow's (ImageEnhance, ImageOps); sharpness equals that of tensorflow-addons.
"""

import tensorflow as tf

HUE_SHARE = 0.1  # of the hue circle, at a jitter of strength 1


def brightness(image, factor):
    """Factor 0 gives black, 1 the image itself."""
    return _blend(tf.zeros_like(image), image, factor)


def contrast(image, factor):
    """Factor 0 gives the mean grey of the image everywhere, 1 the image itself."""
    mean = tf.reduce_mean(tf.cast(_grey(image), tf.float32))
    return _blend(tf.fill(tf.shape(image), tf.floor(mean + 0.5)), image, factor)


def saturation(image, factor):
    """Factor 0 gives grey, 1 the image itself: ImageEnhance.Color, and `Color` of the policies."""
    return _blend(_grey(image), image, factor)


def sharpness(image, factor):
    """Factor 0 gives a smoothed image, 1 the image itself, more a sharper one.

    The outermost pixels stay. The smoothed image is rounded down and the result to the nearest, as
    in tensorflow-addons; Pillow does the reverse.
    """
    window = tf.constant([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]]) / 13.0
    windows = tf.tile(window[..., None, None], [1, 1, 3, 1])
    batch = tf.cast(image, tf.float32)[None]
    smooth = tf.nn.depthwise_conv2d(batch, windows, [1, 1, 1, 1], 'SAME')[0]
    height, width = tf.unstack(tf.shape(image)[:2])
    inner = _inner(height)[:, None] & _inner(width)
    smooth = tf.where(inner[..., None], tf.cast(smooth, tf.uint8), image)
    return tf.cast(tf.round(_between(smooth, image, factor)), tf.uint8)


def _inner(count):
    """bool [count]: all but the first and the last."""
    places = tf.range(count)
    return (places > 0) & (places < count - 1)


def hue(image, delta):
    """Turns the hue by `delta`, a share of the hue circle (-1..1)."""
    return tf.image.adjust_hue(image, delta)


def autocontrast(image):
    """Stretches each channel to 0..255."""
    low = tf.cast(tf.reduce_min(image, [0, 1]), tf.float64)[:, None]
    high = tf.cast(tf.reduce_max(image, [0, 1]), tf.float64)[:, None]
    scale = 255.0 / tf.maximum(high - low, 1.0)
    levels = tf.range(256, dtype=tf.float64)
    stretched = tf.clip_by_value(levels * scale - low * scale, 0.0, 255.0)  # [3, 256]
    return _look_up(image, tf.where(high > low, stretched, levels))


def equalize(image):
    """Flattens the histogram of each channel."""
    channels = tf.cast(image, tf.int32) + 256 * tf.range(3)
    counts = tf.reshape(tf.math.bincount(channels, minlength=768, maxlength=768), [3, 256])
    brightest = tf.reduce_max(tf.cast(image, tf.int32), [0, 1])
    last = tf.gather(counts, brightest, batch_dims=1)  # [3]
    step = ((tf.reduce_sum(counts, 1) - last) // 255)[:, None]
    flat = (tf.cumsum(counts, 1, exclusive=True) + step // 2) // tf.maximum(step, 1)
    return _look_up(image, tf.where(step > 0, tf.minimum(flat, 255), tf.range(256)))


def posterize(image, bits):
    """Keeps the upper `bits` (1 to 8) of each value."""
    return tf.bitwise.bitwise_and(image, tf.cast(256 - 2 ** (8 - bits), tf.uint8))


def solarize(image, threshold):
    """Inverts values at `threshold` (0..256) or above."""
    return tf.where(tf.cast(image, tf.int32) < threshold, image, invert(image))


def solarize_add(image, addition, threshold=128):
    """Adds to values below `threshold`."""
    level = tf.cast(image, tf.int32)
    added = tf.cast(tf.clip_by_value(level + addition, 0, 255), tf.uint8)
    return tf.where(level < threshold, added, image)


def invert(image):
    """255 - image."""
    return 255 - image


def jitter(image, strength, seed):
    """Random brightness, contrast, saturation and hue.

    The first three change by a factor of 1 +- strength (0..1), the hue by +- strength / 10 of its
    circle. seed: int [2].
    """
    draws = tf.unstack(tf.random.stateless_uniform([4], seed, -1.0, 1.0))
    image = brightness(image, 1.0 + strength * draws[0])
    image = contrast(image, 1.0 + strength * draws[1])
    image = saturation(image, 1.0 + strength * draws[2])
    return hue(image, HUE_SHARE * strength * draws[3])


def _blend(degenerate, image, factor):
    """Pillow's Image.blend: clipped to 0..255, then rounded down."""
    return tf.cast(_between(degenerate, image, factor), tf.uint8)


def _between(degenerate, image, factor):
    """float32 in 0..255; extrapolated where the factor is above 1."""
    degenerate = tf.cast(degenerate, tf.float32)
    image = tf.cast(image, tf.float32)
    return tf.clip_by_value(degenerate + factor * (image - degenerate), 0.0, 255.0)


def _grey(image):
    """int32 [H, W, 1]: Pillow's mode L, ITU-R 601 in integers."""
    weighted = tf.cast(image, tf.int32) * tf.constant([19595, 38470, 7471])
    return tf.bitwise.right_shift(tf.reduce_sum(weighted, -1, keepdims=True) + 0x8000, 16)


def _look_up(image, tables):
    """Replaces each value by its entry in the table of its channel; tables [3, 256]."""
    entries = tf.reshape(tf.cast(tables, tf.uint8), [-1])
    return tf.gather(entries, tf.cast(image, tf.int32) + 256 * tf.range(3))
