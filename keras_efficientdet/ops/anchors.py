"""Anchors of a feature pyramid, and boxes written relative to them (box codes)."""

import math

import numpy as np
import tensorflow as tf

from keras_efficientdet.config.values import image_size as _size


def feature_sizes(image_size, max_level):
    """[(height, width)] of levels 0 to max_level; each level is half the one before, rounded up."""
    sizes = [_size(image_size)]
    for _ in range(max_level):
        sizes.append(tuple((n - 1) // 2 + 1 for n in sizes[-1]))
    return sizes


def anchors(
    image_size, *, levels=(3, 7), scales=3, ratios=(1.0, 2.0, 0.5), scale=4.0
) -> np.ndarray:
    """Anchor boxes of a pyramid, ordered by level, y, x, scale, aspect ratio like the outputs.

    Args:
      image_size: (height, width) in pixels, or one int for a square.
      levels: (first, last) pyramid level. As in the official code, an image size that is not a
        multiple of 2 ** last gives fractional strides.
      scales: sizes per octave.
      ratios: aspect ratios width / height, or pairs of (x, y) multipliers of the side.
      scale: side of a square anchor in units of the stride; one number, or one per level.
    Returns:
      float32 [A, 4], ymin xmin ymax xmax in pixels of the network's input, not clipped.
    Raises:
      ValueError: `scale` has another length than there are levels.
    Source: google/automl anchors.py; EfficientDet paper section 4.2.
    """
    first, last = levels
    sizes = feature_sizes(image_size, last)
    per_level = scale if isinstance(scale, list | tuple) else [scale] * (last - first + 1)
    if len(per_level) != last - first + 1:
        raise ValueError(
            f'anchor scale {scale}: expected one number, or {last - first + 1} for levels '
            f'{first} to {last}'
        )
    multipliers = [_multipliers(r) for r in ratios]
    boxes = []
    for level, own_scale in zip(range(first, last + 1), per_level, strict=True):
        boxes.append(_level(sizes[0], sizes[level], multipliers, scales, own_scale))
    return np.concatenate(boxes)


def _multipliers(ratio):
    """(x, y) factors of an aspect ratio, or the pair itself."""
    if isinstance(ratio, list | tuple):
        return tuple(ratio)
    return (math.sqrt(ratio), 1 / math.sqrt(ratio))


def _level(image, feature, multipliers, scales, scale):
    """float32 [h * w * scales * ratios, 4]"""
    stride_y = image[0] / feature[0]
    stride_x = image[1] / feature[1]
    half = []
    for k in range(scales):
        octave = 2 ** (k / scales)
        for x, y in multipliers:
            half.append([scale * stride_y * octave * y / 2, scale * stride_x * octave * x / 2])
    half = np.array(half)  # [S*R, 2]
    rows = np.arange(stride_y / 2, image[0], stride_y)
    columns = np.arange(stride_x / 2, image[1], stride_x)
    yx = np.stack(np.meshgrid(rows, columns, indexing='ij'), -1)[:, :, None]  # [h, w, 1, 2]
    return np.concatenate([yx - half, yx + half], -1).reshape(-1, 4).astype(np.float32)


def encode(boxes, anchor_boxes):
    """Box codes ty tx th tw of boxes [..., 4] relative to anchors [..., 4].

    The centre is ymin + h / 2 and not (ymin + ymax) / 2: a box equal to its anchor must have codes
    of exactly 0, since the official box loss leaves out elements whose target is exactly 0.
    """
    yc, xc, h, w = _centre_size(boxes)
    yca, xca, ha, wa = _centre_size(anchor_boxes)
    return tf.stack(
        [(yc - yca) / ha, (xc - xca) / wa, tf.math.log(h / ha), tf.math.log(w / wa)], -1
    )


def decode(codes, anchor_boxes):
    """Inverse of `encode`: codes [..., A, 4], anchors [A, 4] -> boxes [..., A, 4], not clipped."""
    ty, tx, th, tw = tf.unstack(codes, axis=-1)
    ymin, xmin, ymax, xmax = tf.unstack(anchor_boxes, axis=-1)
    ha, wa = ymax - ymin, xmax - xmin
    yc, xc = ty * ha + (ymin + ymax) / 2, tx * wa + (xmin + xmax) / 2
    h, w = tf.exp(th) * ha, tf.exp(tw) * wa
    return tf.stack([yc - h / 2, xc - w / 2, yc + h / 2, xc + w / 2], -1)


def _centre_size(boxes):
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    h, w = ymax - ymin, xmax - xmin
    return ymin + h / 2, xmin + w / 2, tf.maximum(h, 1e-8), tf.maximum(w, 1e-8)
