"""Several examples made one: mosaic of four, mixup of two.

An example is a dict of image uint8 [H, W, 3], boxes float32 [N, 4] in pixels, classes int32 [N] and crowd bool [N].
"""

import tensorflow as tf

from keras_efficientdet.data.augment.geometry import within
from keras_efficientdet.ops.boxes import area

KEYS = ('image', 'boxes', 'classes', 'crowd')
MOSAIC_CENTRE = (0.25, 0.75)  # where the four pictures meet, of height and width
VISIBLE = 0.1  # a box of which less than this share is left has no object to show
MIXUP_BETA = 1.5  # both parameters of the beta distribution


def with_partners(examples):
    """Dataset of examples -> dataset of (example, the three before it), newest first. Nothing is decoded twice.

    The first three examples have empty pictures for partners.
    """
    nothing = {
        'image': tf.zeros([0, 0, 3], tf.uint8),
        'boxes': tf.zeros([0, 4]),
        'classes': tf.zeros([0], tf.int32),
        'crowd': tf.zeros([0], tf.bool),
    }
    examples = examples.map(lambda e: {key: e[key] for key in KEYS})
    return examples.scan((nothing,) * 3, lambda earlier, e: ((e, *earlier[:2]), (e, *earlier)))


def mix(examples, size, mosaic_prob, mixup_prob, seed):
    """The first of four examples, with its partners where the draws say so. seed: int [2]."""
    seeds = tf.random.experimental.stateless_split(seed, 3)
    draws = tf.random.stateless_uniform([2], seeds[0])
    complete = tf.shape(examples[3]['image'])[0] > 0
    example = {key: examples[0][key] for key in KEYS}
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
    """Four examples -> one of `size` (height, width): each fills a quarter, cut but not distorted, around a drawn centre.

    Boxes of which less than a tenth is left are dropped. Source: Bochkovskiy et al. 2020, YOLOv4 (arXiv 2004.10934).
    """
    draws = tf.random.stateless_uniform([5, 2], seed)
    low, high = MOSAIC_CENTRE
    top, left = tf.unstack(
        tf.cast(tf.cast(size, tf.float32) * (low + (high - low) * draws[0]), tf.int32)
    )
    places = [
        ((0, 0), (top, left)),
        ((0, left), (top, size[1] - left)),
        ((top, 0), (size[0] - top, left)),
        ((top, left), (size[0] - top, size[1] - left)),
    ]
    parts = [
        _part(example, corner, room, draw)
        for example, (corner, room), draw in zip(
            examples, places, tf.unstack(draws[1:]), strict=True
        )
    ]
    joined = {key: tf.concat([part[key] for part in parts], 0) for key in KEYS[1:]}
    upper, lower = (tf.concat([parts[i]['image'], parts[i + 1]['image']], 1) for i in (0, 2))
    image = tf.concat([upper, lower], 0)
    image.set_shape([*size, 3])
    return {'image': image, **joined}


def _part(example, corner, room, draw):
    """The example scaled until it covers a room (height, width), cut to it from a drawn offset on, boxes moved to `corner`."""
    hw, room = tf.shape(example['image'])[:2], tf.stack(room)
    scale = tf.reduce_max(tf.cast(room, tf.float32) / tf.cast(hw, tf.float32))
    scaled = tf.maximum(room, tf.cast(tf.round(tf.cast(hw, tf.float32) * scale), tf.int32))
    offset = tf.cast(draw * tf.cast(scaled - room + 1, tf.float32), tf.int32)
    image = tf.image.resize(example['image'], scaled)
    image = image[offset[0] : offset[0] + room[0], offset[1] : offset[1] + room[1]]
    moved = example['boxes'] * tf.tile(tf.cast(scaled, tf.float32) / tf.cast(hw, tf.float32), [2])
    moved -= tf.tile(tf.cast(offset, tf.float32), [2])
    cut = within(moved, *tf.unstack(room))
    kept = area(cut) > VISIBLE * area(moved)
    return {
        'image': tf.cast(tf.round(image), tf.uint8),
        'boxes': cut[kept] + tf.tile(tf.cast(tf.stack(corner), tf.float32), [2]),
        'classes': example['classes'][kept],
        'crowd': example['crowd'][kept],
    }


def mixup(first, second, seed):
    """Two examples blended from their top left corners on, as large as both need; all boxes of both.

    Source: Zhang et al. 2019, Bag of Freebies for Training Object Detection Neural Networks (arXiv 1902.04103).
    """
    a, b = tf.unstack(tf.random.stateless_gamma([2], seed, MIXUP_BETA))
    hw = tf.maximum(tf.shape(first['image'])[:2], tf.shape(second['image'])[:2])
    one, two = (tf.cast(_padded(e['image'], hw), tf.float32) for e in (first, second))
    image = tf.cast(tf.round(two + a / (a + b) * (one - two)), tf.uint8)
    image.set_shape([None, None, 3])
    return {'image': image, **{key: tf.concat([first[key], second[key]], 0) for key in KEYS[1:]}}


def _padded(image, hw):
    missing = hw - tf.shape(image)[:2]
    return tf.pad(image, [[0, missing[0]], [0, missing[1]], [0, 0]])
