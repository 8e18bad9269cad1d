"""Images on their way to the network, and boxes on their way back.

Training crops and flips in data.augment before it resizes here; the rest is the same for training,
evaluation, exports and serving.
"""

import numpy as np
import tensorflow as tf

from keras_efficientdet.ops.boxes import clip

CROP_PADDING = 32  # pixels that 'crop' leaves away on the shorter side, both ends together


def decode(encoded):
    """JPEG, PNG, GIF (first frame) or BMP -> uint8 [H, W, 3]; EXIF orientation is ignored.

    Images in TFRecords are stored upright; see `export.upright` for others.
    """
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    image.set_shape([None, None, 3])
    return image


def normalize(images, mean_rgb, stddev_rgb) -> tf.Tensor:
    """uint8 or float [..., 3] in 0..255 -> float32 (x - mean) / stddev."""
    mean = tf.constant(mean_rgb, tf.float32)
    stddev = tf.constant(stddev_rgb, tf.float32)
    return (tf.cast(images, tf.float32) - mean) / stddev


def denormalize(images, mean_rgb, stddev_rgb) -> np.ndarray:
    """Inverse of `normalize`, for display: float [..., 3] -> np.ndarray uint8 [..., 3], rounded."""
    pixels = np.asarray(images) * np.array(stddev_rgb) + np.array(mean_rgb)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def fit_scale(image_hw, target_hw):
    """The largest factor by which an image fits into target_hw, float32 []; (height, width)."""
    height, width = (tf.cast(n, tf.float32) for n in image_hw)
    target_height, target_width = (tf.cast(n, tf.float32) for n in target_hw)
    return tf.minimum(target_height / height, target_width / width)


def placed(image_hw, size, resize):
    """How an image is scaled and cropped to `size`: scale float32 [], offset (y, x), int32.

    Args:
      image_hw: (height, width) of the image. size: (height, width) of the network's input.
      resize: 'pad': the whole image, padded at the bottom and right. 'crop': its middle, of which
        size / (size + 32) fits into the shorter side (google/automl preprocessing, CROP_PADDING).
    """
    if resize == 'pad':
        return fit_scale(image_hw, size), (0, 0)
    sides = [tf.cast(n, tf.float32) for n in image_hw]
    scale = tf.maximum(*((n + CROP_PADDING) / side for n, side in zip(size, sides, strict=True)))
    spare = scaled_size(image_hw, scale) - tf.constant(size)
    return scale, tuple(tf.unstack((spare + 1) // 2))


def resize_and_pad(images, size, scale=None, offset=(0, 0), finish=None):
    """Resizes by `scale` (default: to fit), crops at `offset`, pads with 0 at the bottom and right.

    Args:
      images: [..., H, W, 3], normalised, since the official padding is the mean colour; or not
        normalised, with a `finish` that normalises.
      size: (height, width) of the result.
      scale: float32 [].
      offset: (y, x) of the crop in the scaled image, int32.
      finish: function applied to the crop before it is padded. Normalising there gives the same
        numbers as normalising first, up to rounding, because resizing is linear; and it costs less,
        because images are usually larger than the network's input.
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
    """int32 [2] (height, width) of a scaled image, rounded down as officially, at least 1."""
    scaled = tf.stack([tf.cast(n, tf.float32) * scale for n in image_hw])
    return tf.maximum(1, tf.cast(scaled, tf.int32))


def prepare(images, size, mean_rgb, stddev_rgb, resize='pad'):
    """Prepares images of any size for inference.

    They are normalised after they are resized, which gives the same numbers up to rounding for a
    small part of the work, because images are usually larger than the network's input.

    Args:
      images: uint8 [B, H, W, 3], or float32 with the same values.
      size: (height, width) of the network's input.
      resize: 'pad' or 'crop', see `placed`.
    Returns:
      float32 [B, height, width, 3] for the network, and the scale back, float32 [B]: boxes of the
      network times it are in pixels of the original images (`undo`). With 'crop' this is true only
      of a box as large as the input, which becomes one that holds the whole image.
    """
    shape = tf.shape(images)
    image_hw = shape[1], shape[2]
    scale, offset = placed(image_hw, size, resize)
    prepared = resize_and_pad(
        images, size, scale, offset, lambda cut: normalize(cut, mean_rgb, stddev_rgb)
    )
    return prepared, tf.fill(shape[:1], 1.0 / fit_scale(image_hw, size))


def letterbox(picture, size, mean_rgb, resize='pad'):
    """Brings an image to the size of the network's input, for engines of fixed size.

    It is `prepare` in NumPy, without TensorFlow, whose threads a forked process does not have.

    Args:
      picture: uint8 [H, W, 3].
      size: (height, width) of the network's input.
      mean_rgb: colour of the padding, rounded, so that it is about 0 after normalisation.
      resize: 'pad' or 'crop', see `placed`.
    Returns:
      uint8 [height, width, 3], and the scale back (float), as of `prepare`.
    """
    image_hw, size = np.float32(picture.shape[:2]), np.array(size)
    fit = np.min(np.float32(size) / image_hw)
    crops = resize == 'crop'
    scale = np.max(np.float32(size + CROP_PADDING) / image_hw) if crops else fit
    height, width = np.maximum(1, (image_hw * scale).astype(np.int32))
    y, x = (np.array([height, width]) - size + 1) // 2 if crops else (0, 0)
    cut = _bilinear(picture, height, width)[y : y + size[0], x : x + size[1]]
    fitted = np.empty((*size, 3), np.uint8)
    fitted[:] = np.rint(np.float32(mean_rgb))
    fitted[: cut.shape[0], : cut.shape[1]] = np.rint(cut)
    return fitted, float(1 / fit)


def unfitted(mask, hw, scale_back):
    """`class_masks.undo` in NumPy: a mask of the network's input -> one of the image [H, W]."""
    rows, columns = (
        np.minimum((np.arange(side, dtype=np.float32) + 0.5) / np.float32(scale_back), limit - 1)
        for side, limit in zip(hw, mask.shape, strict=True)
    )
    return mask[rows.astype(int)[:, None], columns.astype(int)]


def _bilinear(image, height, width):
    """What tf.image.resize returns, float32 [height, width, 3]."""
    top, bottom, down = _neighbours(image.shape[0], height)
    left, right, across = _neighbours(image.shape[1], width)
    upper, lower = (
        _between(image[rows[:, None], left], image[rows[:, None], right], across[:, None])
        for rows in (top, bottom)
    )
    return _between(upper, lower, down[:, None, None])


def _neighbours(size, scaled):
    """For each of `scaled` positions: the two of `size` around it, and its way between them."""
    middle = (np.arange(scaled, dtype=np.float32) + np.float32(0.5)) * np.float32(size / scaled)
    place = middle - np.float32(0.5)
    before = np.floor(place)
    pair = np.clip([before, np.ceil(place)], 0, size - 1).astype(int)
    return *pair, place - before


def _between(first, second, way):
    first = np.float32(first)
    return first + (np.float32(second) - first) * way


def sizes(images) -> tf.Tensor:
    """(height, width) of each image of a batch [B, H, W, 3], int32 [B, 2]."""
    shape = tf.shape(images)
    return tf.tile(shape[None, 1:3], [shape[0], 1])


def undo(boxes, scale_back, sizes=None):
    """Boxes [B, D, 4] in pixels of the input -> pixels of the original images; scale_back [B].

    With `sizes` [B, 2], the (height, width) of the original images, boxes are clipped to them: what
    reaches beyond an image lies in the padding.
    """
    boxes = boxes * scale_back[:, None, None]
    if sizes is None:
        return boxes
    return clip(boxes, sizes[:, None, 0], sizes[:, None, 1])
