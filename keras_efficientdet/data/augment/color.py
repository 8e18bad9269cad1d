"""Colours of a picture uint8 [H, W, 3], as Pillow changes them (ImageEnhance, ImageOps); sharpness as tensorflow-addons does."""

import tensorflow as tf

HUE_SHARE = 0.1  # of the circle, at a jitter of strength 1


def brightness(image, factor):
    """Factor 0 is black, 1 the picture itself."""
    return _blend(tf.zeros_like(image), image, factor)


def contrast(image, factor):
    """Factor 0 is the mean grey of the picture everywhere, 1 the picture itself."""
    mean = tf.reduce_mean(tf.cast(_grey(image), tf.float32))
    return _blend(tf.fill(tf.shape(image), tf.floor(mean + 0.5)), image, factor)


def saturation(image, factor):
    """Factor 0 is grey, 1 the picture itself. ImageEnhance.Color, and `Color` of the policies."""
    return _blend(_grey(image), image, factor)


def sharpness(image, factor):
    """Factor 0 is smoothed, 1 the picture itself, above sharper. The outermost pixels stay as they are.

    The smoothed picture is rounded down and the result to the nearest, as in tensorflow-addons; Pillow does the reverse.
    """
    window = (
        tf.constant([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]])[..., None, None] / 13.0
    )
    smooth = tf.nn.depthwise_conv2d(
        tf.cast(image, tf.float32)[None], tf.tile(window, [1, 1, 3, 1]), [1, 1, 1, 1], 'SAME'
    )[0]
    inner = [(tf.range(n) > 0) & (tf.range(n) < n - 1) for n in tf.unstack(tf.shape(image)[:2])]
    smooth = tf.where((inner[0][:, None] & inner[1])[..., None], tf.cast(smooth, tf.uint8), image)
    return tf.cast(tf.round(_between(smooth, image, factor)), tf.uint8)


def hue(image, delta):
    """Turns the hue by `delta`, in circles (-1..1)."""
    return tf.image.adjust_hue(image, delta)


def autocontrast(image):
    """Stretches each channel to 0..255."""
    low, high = (
        tf.cast(reduce(image, [0, 1]), tf.float64)[:, None]
        for reduce in (tf.reduce_min, tf.reduce_max)
    )
    scale = 255.0 / tf.maximum(high - low, 1.0)
    levels = tf.range(256, dtype=tf.float64)
    stretched = tf.clip_by_value(levels * scale - low * scale, 0.0, 255.0)  # [3, 256]
    return _look_up(image, tf.where(high > low, stretched, levels))


def equalize(image):
    """Makes the histogram of each channel flat."""
    channels = tf.cast(image, tf.int32) + 256 * tf.range(3)
    counts = tf.reshape(tf.math.bincount(channels, minlength=768, maxlength=768), [3, 256])
    last = tf.gather(
        counts, tf.reduce_max(tf.cast(image, tf.int32), [0, 1]), batch_dims=1
    )  # [3] of the brightest level
    step = ((tf.reduce_sum(counts, 1) - last) // 255)[:, None]
    flat = (tf.cumsum(counts, 1, exclusive=True) + step // 2) // tf.maximum(step, 1)
    return _look_up(image, tf.where(step > 0, tf.minimum(flat, 255), tf.range(256)))


def posterize(image, bits):
    """Keeps the upper `bits` (1 to 8) of each value."""
    return tf.bitwise.bitwise_and(image, tf.cast(256 - 2 ** (8 - bits), tf.uint8))


def solarize(image, threshold):
    """Inverts what is at `threshold` (0..256) or above."""
    return tf.where(tf.cast(image, tf.int32) < threshold, image, invert(image))


def solarize_add(image, addition, threshold=128):
    """Adds to what is below `threshold`."""
    level = tf.cast(image, tf.int32)
    return tf.where(
        level < threshold, tf.cast(tf.clip_by_value(level + addition, 0, 255), tf.uint8), image
    )


def invert(image):
    """255 - image."""
    return 255 - image


def jitter(image, strength, seed):
    """Brightness, contrast and saturation times 1 +- strength (0..1), hue +- strength / 10 of the circle. seed: int [2]."""
    draws = tf.unstack(tf.random.stateless_uniform([4], seed, -1.0, 1.0))
    for change, draw in zip((brightness, contrast, saturation), draws, strict=False):
        image = change(image, 1.0 + strength * draw)
    return hue(image, HUE_SHARE * strength * draws[3])


def _blend(degenerate, image, factor):
    """What Pillow calls Image.blend: cut to 0..255, then rounded down."""
    return tf.cast(_between(degenerate, image, factor), tf.uint8)


def _between(degenerate, image, factor):
    """float32 in 0..255; beyond the picture where factor is above 1."""
    degenerate, image = tf.cast(degenerate, tf.float32), tf.cast(image, tf.float32)
    return tf.clip_by_value(degenerate + factor * (image - degenerate), 0.0, 255.0)


def _grey(image):
    """int32 [H, W, 1]: Pillow's mode L, ITU-R 601 in integers."""
    weighted = tf.cast(image, tf.int32) * tf.constant([19595, 38470, 7471])
    return tf.bitwise.right_shift(tf.reduce_sum(weighted, -1, keepdims=True) + 0x8000, 16)


def _look_up(image, tables):
    """Each value through the table of its channel; tables [3, 256]."""
    return tf.gather(
        tf.reshape(tf.cast(tables, tf.uint8), [-1]), tf.cast(image, tf.int32) + 256 * tf.range(3)
    )
