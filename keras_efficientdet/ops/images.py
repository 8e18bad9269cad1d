"""Pictures on their way to the network and boxes on their way back: one copy for training, evaluation and serving."""

import numpy as np
import tensorflow as tf


def decode(encoded):
    """JPEG, PNG, GIF (first frame) or BMP bytes -> uint8 [H, W, 3]. EXIF orientation is not applied (see records)."""
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    image.set_shape([None, None, 3])
    return image


def normalize(images, mean_rgb, stddev_rgb):
    """uint8 or float [..., 3] in 0..255 -> float32 (x - mean) / stddev."""
    return (tf.cast(images, tf.float32) - tf.constant(mean_rgb, tf.float32)) / tf.constant(
        stddev_rgb, tf.float32
    )


def denormalize(images, mean_rgb, stddev_rgb):
    """Inverse of `normalize`: float [..., 3] (numpy or tensors) -> np.ndarray uint8 [..., 3], rounded and clipped."""
    pixels = np.asarray(images) * np.array(stddev_rgb) + np.array(mean_rgb)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def fit_scale(image_hw, target_hw):
    """The factor by which a picture of image_hw fits into target_hw (both (height, width)): float32 scalar."""
    height, width = (tf.cast(n, tf.float32) for n in image_hw)
    return tf.minimum(
        tf.cast(target_hw[0], tf.float32) / height, tf.cast(target_hw[1], tf.float32) / width
    )


def resize_and_pad(images, size, scale=None, offset=(0, 0), finish=None):
    """Resizes by `scale` (default: to fit), cuts from `offset` on, pads with 0 at the bottom and right.

    Args:
      images: [..., H, W, 3], already normalised (the official padding is the mean colour), or with `finish` to do that.
      size: (height, width) of the result.
      scale: float32 scalar.
      offset: (y, x) of the crop in the scaled picture, int32.
      finish: what is done to the cut picture before it is padded. To normalise there gives the same numbers as to normalise
        first, up to rounding, and costs less: resizing is linear, and photos are larger than inputs.
    Returns:
      float32 [..., height, width, 3].
    Source: google/automl dataloader.InputProcessor: bilinear, half-pixel centres, no antialiasing.
    """
    height, width = tf.unstack(tf.shape(images)[-3:-1])
    scale = fit_scale((height, width), size) if scale is None else scale
    scaled = tf.image.resize(images, scaled_size((height, width), scale))
    cut = scaled[..., offset[0] : offset[0] + size[0], offset[1] : offset[1] + size[1], :]
    cut = finish(cut) if finish else cut
    missing = [size[0] - tf.shape(cut)[-3], size[1] - tf.shape(cut)[-2]]
    padding = [[0, 0]] * (len(images.shape) - 3) + [[0, missing[0]], [0, missing[1]], [0, 0]]
    padded = tf.pad(cut, padding)
    padded.set_shape([*images.shape[:-3], *size, 3])
    return padded


def scaled_size(image_hw, scale):
    """int32 [2] (height, width) of a scaled picture, rounded down as officially, but never to nothing."""
    return tf.maximum(
        1, tf.cast(tf.stack([tf.cast(n, tf.float32) * scale for n in image_hw]), tf.int32)
    )


def prepare(images, size, mean_rgb, stddev_rgb):
    """Pictures of any size for inference: uint8 [B, H, W, 3] -> float32 [B, height, width, 3] and scale back [B].

    Multiply boxes of the network by the second result to get pixels of the original.
    """
    shape = tf.shape(images)
    scale = fit_scale((shape[1], shape[2]), size)
    prepared = resize_and_pad(normalize(images, mean_rgb, stddev_rgb), size, scale)
    return prepared, tf.fill(shape[:1], 1.0 / scale)


def letterbox(picture, size, mean_rgb):
    """A picture as uint8 of the network's own size, for engines that take no other: resized to fit, then padded.

    Args:
      picture: uint8 [H, W, 3]. size: (height, width). mean_rgb: the padding, rounded: nothing after normalisation.
    Returns:
      uint8 [height, width, 3] and the scale back (float): multiply boxes in its pixels to get pixels of the picture.
    """
    scale = fit_scale(picture.shape[:2], size)
    grey = tf.round(tf.constant(mean_rgb, tf.float32))
    fitted = resize_and_pad(tf.cast(picture, tf.float32) - grey, size, scale) + grey
    return tf.cast(tf.round(fitted), tf.uint8).numpy(), float(1.0 / scale)


def undo(boxes, scale_back):
    """Boxes [B, D, 4] of the network's input -> pixels of the original pictures; scale_back [B]."""
    return boxes * scale_back[:, None, None]
