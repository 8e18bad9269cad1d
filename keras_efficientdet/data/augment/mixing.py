"""Several examples made one: mosaic of four, mixup of two.

An example is a dict of image uint8 [H, W, 3], boxes float32 [N, 4] in pixels, classes int32 [N] and
crowd bool [N], and mask uint8 [H, W, 1] where a head learns from it.
"""

import tensorflow as tf

from keras_efficientdet.data.augment.annotations import (
    axis_aligned,
    is_point,
    move,
    select,
    unmoved,
)
from keras_efficientdet.ops.boxes import area
from keras_efficientdet.ops.class_masks import IGNORED

ANNOTATIONS = ('boxes', 'classes', 'crowd')
PIXELS = ('image', 'mask')
KEYS = (*PIXELS, *ANNOTATIONS)
MOSAIC_CENTRE = (0.25, 0.75)  # range of the point where the images meet, as a share of the sides
VISIBLE = 0.1  # a box of which a smaller share of the area is left is dropped
MIXUP_BETA = 1.5  # both parameters of the beta distribution


def with_partners(examples):
    """Dataset of examples -> dataset of (example, the three before it), newest first.

    Nothing is decoded twice. Where there is no example before, a partner is an empty image.
    """
    nothing = {
        'image': tf.zeros([0, 0, 3], tf.uint8),
        'mask': tf.zeros([0, 0, 1], tf.uint8),
        'boxes': tf.zeros([0, 4]),
        'classes': tf.zeros([0], tf.int32),
        'crowd': tf.zeros([0], tf.bool),
    }
    nothing = _mixed_part(nothing, examples.element_spec)
    examples = examples.map(lambda e: _mixed_part(e, e))
    return examples.scan((nothing,) * 3, lambda earlier, e: ((e, *earlier[:2]), (e, *earlier)))


def _mixed_part(example, keys):
    """What mixing needs of an example, as far as it is among the keys."""
    return {key: example[key] for key in KEYS if key in keys}


def mix(examples, size, mosaic_prob, mixup_prob, seed):
    """The first of four examples, mixed with its partners by the given probabilities.

    size: (height, width) of a mosaic. seed: int [2].
    """
    seeds = tf.random.experimental.stateless_split(seed, 3)
    draws = tf.random.stateless_uniform([2], seeds[0])
    complete = tf.shape(examples[3]['image'])[0] > 0
    example = _mixed_part(examples[0], examples[0])
    if mosaic_prob:
        example = tf.cond(
            (draws[0] < mosaic_prob) & complete,
            lambda: mosaic(examples, size, seeds[1]),
            lambda: example,
        )
    if mixup_prob:
        plain = example
        example = tf.cond(
            (draws[1] < mixup_prob) & complete,
            lambda: mixup(plain, examples[1], seeds[2]),
            lambda: plain,
        )
    return example


def mosaic(examples, size, seed):
    """Four examples -> one of `size` (height, width), around a drawn centre.

    Each image fills a quarter; it is cropped but keeps its aspect ratio. Boxes of which less than a
    tenth of the area is left are dropped.

    Source: Bochkovskiy et al. 2020, YOLOv4 (arXiv 2004.10934).
    """
    draws = tf.random.stateless_uniform([5, 2], seed)
    low, high = MOSAIC_CENTRE
    centre = tf.cast(tf.cast(size, tf.float32) * (low + (high - low) * draws[0]), tf.int32)
    top, left = tf.unstack(centre)
    bottom, right = size[0] - top, size[1] - left
    quarters = [  # corner (y, x) and room (height, width)
        ((0, 0), (top, left)),
        ((0, left), (top, right)),
        ((top, 0), (bottom, left)),
        ((top, left), (bottom, right)),
    ]
    parts = [
        _part(example, corner, room, draw)
        for example, (corner, room), draw in zip(
            examples, quarters, tf.unstack(draws[1:]), strict=True
        )
    ]
    return {**_side_by_side(parts, size), **_joined(parts)}


def _side_by_side(parts, size):
    """{'image': ..., 'mask': ...}: the four parts as quarters of one."""
    whole = {}
    for key in PIXELS:
        if key in parts[0]:
            pixels = [part[key] for part in parts]
            whole[key] = tf.concat([tf.concat(pixels[:2], 1), tf.concat(pixels[2:], 1)], 0)
            whole[key].set_shape([*size, pixels[0].shape[-1]])
    return whole


def _joined(parts):
    """The annotations of all parts together."""
    return {key: tf.concat([part[key] for part in parts], 0) for key in ANNOTATIONS}


def _part(example, corner, room, draw):
    """The example scaled until it covers a room (height, width), cropped to it at a drawn offset.

    Its annotations are moved to the room's `corner` (top, left) in the mosaic.
    """
    hw = tf.shape(example['image'])[:2]
    room = tf.stack(room)
    scale = tf.reduce_max(tf.cast(room, tf.float32) / tf.cast(hw, tf.float32))
    scaled = tf.maximum(room, tf.cast(tf.round(tf.cast(hw, tf.float32) * scale), tf.int32))
    offset = tf.cast(draw * tf.cast(scaled - room + 1, tf.float32), tf.int32)
    image = tf.image.resize(example['image'], scaled)  # float32
    image = image[offset[0] : offset[0] + room[0], offset[1] : offset[1] + room[1]]
    ratio = tf.cast(scaled, tf.float32) / tf.cast(hw, tf.float32)
    shift = -tf.cast(offset, tf.float32)
    whole = move(example, axis_aligned(tf.unstack(ratio), tf.unstack(shift), room))
    bounds = tf.cast(tf.stack([tf.zeros_like(room), room]), tf.float32)
    visible = move(whole, unmoved(image, bounds))
    before, after = area(whole['boxes']), area(visible['boxes'])
    # Of a key point nothing is left, or all.
    kept = tf.where(before > 0.0, after > VISIBLE * before, is_point(visible['boxes']))
    to_corner = tf.unstack(tf.cast(tf.stack(corner), tf.float32))
    part = move(visible, axis_aligned((1.0, 1.0), to_corner, room))
    own = {'mask': visible['mask']} if 'mask' in visible else {}
    return {**select(part, kept), **own, 'image': tf.cast(tf.round(image), tf.uint8)}


def mixup(first, second, seed):
    """Two examples blended, aligned at their top left corners and padded; all boxes of both.

    Source: Zhang et al. 2019, Bag of Freebies for Training Object Detection Neural Networks
    (arXiv 1902.04103).
    """
    a, b = tf.unstack(tf.random.stateless_gamma([2], seed, MIXUP_BETA))
    hw = tf.maximum(tf.shape(first['image'])[:2], tf.shape(second['image'])[:2])
    one = tf.cast(_padded(first['image'], hw), tf.float32)
    two = tf.cast(_padded(second['image'], hw), tf.float32)
    share = a / (a + b)  # two gamma variables give one of the beta distribution
    image = tf.cast(tf.round(two + share * (one - two)), tf.uint8)
    image.set_shape([None, None, 3])
    mixed = {'image': image, **_joined((first, second))}
    if 'mask' not in first:
        return mixed
    # A pixel has one class: that of the image that shows more.
    return {**mixed, 'mask': tf.where(share > 0.5, *(_padded_mask(e, hw) for e in (first, second)))}


def _padded(image, hw, value=0):
    missing = hw - tf.shape(image)[:2]
    return tf.pad(image, [[0, missing[0]], [0, missing[1]], [0, 0]], constant_values=value)


def _padded_mask(example, hw):
    return _padded(example['mask'], hw, IGNORED)
