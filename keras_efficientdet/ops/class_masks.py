"""Masks of semantic segmentation, uint8 [H, W, 1]: a class for each pixel.

0 is the background, 1 to num_classes are the classes in class order, 255 is ignored.
"""

import tensorflow as tf

IGNORED = 255


def warped(mask, matrix, size, bounds):
    """A mask whose pixels were moved, by the nearest pixel.

    Args:
      mask: uint8 [H, W, 1].
      matrix: float32 [2, 3], where the point (y, x, 1) goes (`data.augment.annotations.Transform`).
      size: int32 [2], height and width of the result.
      bounds: float32 [2, 2], smallest and largest (y, x) of the result that show the image; a
        pixel may reach beyond them.
    Returns:
      uint8 [size, 1], ignored where the image has no pixel.
    """
    height, width = tf.unstack(tf.cast(size, tf.int32))
    y, x = (tf.cast(tf.range(side), tf.float32) + 0.5 for side in (height, width))
    back = tf.linalg.inv(matrix[:, :2])
    shift = -tf.linalg.matvec(back, matrix[:, 2])
    from_y = back[0, 0] * y[:, None] + back[0, 1] * x[None] + shift[0]
    from_x = back[1, 0] * y[:, None] + back[1, 1] * x[None] + shift[1]
    place = tf.cast(tf.floor(tf.stack([from_y, from_x], -1) + _ROUNDING), tf.int32)
    hw = tf.shape(mask)[:2]
    inside = tf.reduce_all((place >= 0) & (place < hw), -1)
    here = tf.stack(tf.meshgrid(y, x, indexing='ij'), -1)
    inside &= tf.reduce_all((here + 0.5 >= bounds[0]) & (here - 0.5 <= bounds[1]), -1)
    found = tf.gather_nd(mask, tf.clip_by_value(place, 0, tf.maximum(hw - 1, 0)))
    return tf.where(inside[..., None], found, tf.constant(IGNORED, tf.uint8))


# Pixels. A place that is exactly between two pixels belongs to the second on every machine.
_ROUNDING = 1e-4


def at_cells(mask, shape, stride):
    """int32 [shape]: the class of the pixel in the middle of each cell, ignored beyond the mask.

    Args:
      mask: uint8 [H, W, 1]. shape: (height, width) in cells. stride: pixels to a cell.
    """
    cells = mask[stride // 2 :: stride, stride // 2 :: stride, 0][: shape[0], : shape[1]]
    missing = [[0, wanted - tf.shape(cells)[axis]] for axis, wanted in enumerate(shape)]
    padded = tf.pad(tf.cast(cells, tf.int32), missing, constant_values=IGNORED)
    padded.set_shape(shape)
    return padded


def undo(masks, scale_back, sizes):
    """Masks of the network's input -> masks of the original images, by the nearest pixel.

    Args:
      masks: uint8 [B, h, w]. scale_back: float32 [B] (`images.prepare`).
      sizes: int32 [B, 2], (height, width) of the images.
    Returns:
      uint8 [B, height, width] of the largest height and width; ignored beyond smaller images.
    """
    outside = []
    for axis in (0, 1):
        limit = tf.shape(masks)[axis + 1] - 1
        pixels = tf.range(tf.reduce_max(sizes[:, axis]))[None]  # [1, side]
        middle = (tf.cast(pixels, tf.float32) + 0.5) / scale_back[:, None]
        places = tf.minimum(tf.cast(middle, tf.int32), limit)  # [B, side]
        masks = tf.gather(masks, places, axis=axis + 1, batch_dims=1)
        outside.append(pixels >= sizes[:, axis, None])
    beyond = outside[0][:, :, None] | outside[1][:, None]
    return tf.where(beyond, tf.constant(IGNORED, tf.uint8), masks)
