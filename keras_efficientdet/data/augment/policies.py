"""AutoAugment for detection and RandAugment.

A policy is a table of sub-policies, one of which is drawn for each picture: [(operation, probability, magnitude 0..10), ...].
v0 is that of Zoph et al. 2019, Learning Data Augmentation Strategies for Object Detection (arXiv 1906.11172), its appendix; its
entries of probability 0 or magnitude 0 stand for the paper's empty sub-policy. v1, v2 and v3 are not in the paper: they are
written down here as they are known from the authors' later trainings (docs/DIFFERENCES.md).
RandAugment: Cubuk et al. 2019 (arXiv 1909.13719).
"""

import functools

import numpy as np
import tensorflow as tf

from keras_efficientdet.data.augment.operations import BOXES_ALONE, OPERATIONS

V0 = (
    (('TranslateX_BBox', 0.6, 4), ('Equalize', 0.8, 10)),
    (('TranslateY_Only_BBoxes', 0.2, 2), ('Cutout', 0.8, 8)),
    (('Sharpness', 0.0, 8), ('ShearX_BBox', 0.4, 0)),
    (('ShearY_BBox', 1.0, 2), ('TranslateY_Only_BBoxes', 0.6, 6)),
    (('Rotate_BBox', 0.6, 10), ('Color', 1.0, 6)),
)
V1 = (
    *V0,
    (('Color', 0.0, 0), ('ShearX_Only_BBoxes', 0.8, 4)),
    (('ShearY_Only_BBoxes', 0.8, 2), ('Flip_Only_BBoxes', 0.0, 10)),
    (('Equalize', 0.6, 10), ('TranslateX_BBox', 0.2, 2)),
    (('Color', 1.0, 10), ('TranslateY_Only_BBoxes', 0.4, 6)),
    (('Rotate_BBox', 0.8, 10), ('Contrast', 0.0, 10)),
    (('Cutout', 0.2, 2), ('Brightness', 0.8, 10)),
    (('Color', 1.0, 6), ('Equalize', 1.0, 2)),
    (('Cutout_Only_BBoxes', 0.4, 6), ('TranslateY_Only_BBoxes', 0.8, 2)),
    (('Color', 0.2, 8), ('Rotate_BBox', 0.8, 10)),
    (('Sharpness', 0.4, 4), ('TranslateY_Only_BBoxes', 0.0, 4)),
    (('Sharpness', 1.0, 4), ('SolarizeAdd', 0.4, 4)),
    (('Rotate_BBox', 1.0, 8), ('Sharpness', 0.2, 8)),
    (('ShearY_BBox', 0.6, 10), ('Equalize_Only_BBoxes', 0.6, 8)),
    (('ShearX_BBox', 0.2, 6), ('TranslateY_Only_BBoxes', 0.2, 10)),
    (('SolarizeAdd', 0.6, 8), ('Brightness', 0.8, 10)),
)
V2 = (
    (('Color', 0.0, 6), ('Cutout', 0.6, 8), ('Sharpness', 0.4, 8)),
    (('Rotate_BBox', 0.4, 8), ('Sharpness', 0.4, 2), ('Rotate_BBox', 0.8, 10)),
    (('TranslateY_BBox', 1.0, 8), ('AutoContrast', 0.8, 2)),
    (('AutoContrast', 0.4, 6), ('ShearX_BBox', 0.8, 8), ('Brightness', 0.0, 10)),
    (('SolarizeAdd', 0.2, 6), ('Contrast', 0.0, 10), ('AutoContrast', 0.6, 0)),
    (('Cutout', 0.2, 0), ('Solarize', 0.8, 8), ('Color', 1.0, 4)),
    (('TranslateY_BBox', 0.0, 4), ('Equalize', 0.6, 8), ('Solarize', 0.0, 10)),
    (('TranslateY_BBox', 0.2, 2), ('ShearY_BBox', 0.8, 8), ('Rotate_BBox', 0.8, 8)),
    (('Cutout', 0.8, 8), ('Brightness', 0.8, 8), ('Cutout', 0.2, 2)),
    (('Color', 0.8, 4), ('TranslateY_BBox', 1.0, 6), ('Rotate_BBox', 0.6, 6)),
    (('Rotate_BBox', 0.6, 10), ('BBox_Cutout', 1.0, 4), ('Cutout', 0.2, 8)),
    (('Rotate_BBox', 0.0, 0), ('Equalize', 0.6, 6), ('ShearY_BBox', 0.6, 8)),
    (('Brightness', 0.8, 8), ('AutoContrast', 0.4, 2), ('Brightness', 0.2, 2)),
    (('TranslateY_BBox', 0.4, 8), ('Solarize', 0.4, 6), ('SolarizeAdd', 0.2, 10)),
    (('Contrast', 1.0, 10), ('SolarizeAdd', 0.2, 8), ('Equalize', 0.2, 4)),
)
V3 = (
    (('Posterize', 0.8, 2), ('TranslateX_BBox', 1.0, 8)),
    (('BBox_Cutout', 0.2, 10), ('Sharpness', 1.0, 8)),
    (('Rotate_BBox', 0.6, 8), ('Rotate_BBox', 0.8, 10)),
    (('Equalize', 0.8, 10), ('AutoContrast', 0.2, 10)),
    (('SolarizeAdd', 0.2, 2), ('TranslateY_BBox', 0.2, 8)),
    (('Sharpness', 0.0, 2), ('Color', 0.4, 8)),
    (('Equalize', 1.0, 8), ('TranslateY_BBox', 1.0, 8)),
    (('Posterize', 0.6, 2), ('Rotate_BBox', 0.0, 10)),
    (('AutoContrast', 0.6, 0), ('Rotate_BBox', 1.0, 6)),
    (('Equalize', 0.0, 4), ('Cutout', 0.8, 10)),
    (('Brightness', 1.0, 2), ('TranslateY_BBox', 1.0, 6)),
    (('Contrast', 0.0, 2), ('ShearY_BBox', 0.8, 0)),
    (('AutoContrast', 0.8, 10), ('Contrast', 0.2, 10)),
    (('Rotate_BBox', 1.0, 10), ('Cutout', 1.0, 10)),
    (('SolarizeAdd', 0.8, 6), ('Equalize', 0.8, 8)),
)
POLICIES = {'v0': V0, 'v1': V1, 'v2': V2, 'v3': V3}
RANDOM = (
    'Equalize',
    'Solarize',
    'Color',
    'Cutout',
    'SolarizeAdd',
    'TranslateX_BBox',
    'TranslateY_BBox',
    'ShearX_BBox',
    'ShearY_BBox',
    'Rotate_BBox',
)
RANDOM_LAYERS, RANDOM_MAGNITUDE = 1, 15.0
RANDOM_PROBABILITY = (0.2, 0.8)


def distort(image, boxes, policy, seed):
    """Changes a picture by a policy.

    Args:
      image: uint8 [H, W, 3]. boxes: float32 [N, 4], pixels.
      policy: 'v0', 'v1', 'v2', 'v3' or 'randaug'. seed: int [2].
    Returns:
      image uint8 [H, W, 3], boxes float32 [N, 4]; those that left the picture are all 0.
    """
    return (
        randaugment(image, boxes, seed)
        if policy == 'randaug'
        else autoaugment(image, boxes, POLICIES[policy], seed)
    )


def autoaugment(image, boxes, table, seed):
    """One of the table's sub-policies, drawn; see `distort`."""
    names, indexes, probabilities, levels = _arrays(table)
    seeds = tf.random.experimental.stateless_split(seed, indexes.shape[1] + 1)
    drawn = tf.random.stateless_uniform([], seeds[0], 0, len(table), tf.int32)
    for k in range(indexes.shape[1]):
        index, probability, level = (
            tf.constant(values)[drawn, k] for values in (indexes, probabilities, levels)
        )
        image, boxes = _maybe(names, index, probability, level, image, boxes, seeds[k + 1])
    return image, boxes


def randaugment(image, boxes, seed, layers=RANDOM_LAYERS, magnitude=RANDOM_MAGNITUDE):
    """`layers` operations of `RANDOM` one after the other, each with a drawn probability; see `distort`."""
    low, high = RANDOM_PROBABILITY
    for own in tf.unstack(tf.random.experimental.stateless_split(seed, layers)):
        seeds = tf.random.experimental.stateless_split(own, 3)
        index = tf.random.stateless_uniform([], seeds[0], 0, len(RANDOM), tf.int32)
        probability = tf.random.stateless_uniform([], seeds[1], low, high)
        image, boxes = _maybe(
            RANDOM, index, probability, tf.constant(magnitude), image, boxes, seeds[2]
        )
    return image, boxes


def _arrays(table):
    """The operations that a table names, and for each [sub-policy, step] index among them, probability, magnitude.

    Shorter sub-policies end in steps of probability 0.
    """
    names = tuple(sorted({name for steps in table for name, _, _ in steps}))
    longest = max(len(steps) for steps in table)
    rows = [[*steps, *[(names[0], 0.0, 0)] * (longest - len(steps))] for steps in table]
    pick = [[[row[k][part] for k in range(longest)] for row in rows] for part in range(3)]
    return (
        names,
        np.vectorize(names.index)(pick[0]).astype(np.int32),
        np.float32(pick[1]),
        np.float32(pick[2]),
    )


def _maybe(names, index, probability, level, image, boxes, seed):
    """Operation `index` of `names` with a probability. Only the branch that is taken runs."""
    seeds = tf.random.experimental.stateless_split(seed, 2)
    each_box = tf.gather(tf.constant([name in BOXES_ALONE for name in names]), index)
    taken = each_box | (tf.random.stateless_uniform([], seeds[0]) < probability)
    branches = [
        functools.partial(OPERATIONS[name], image, boxes, level, probability, seeds[1])
        for name in names
    ]
    return tf.switch_case(
        tf.where(taken & (probability > 0.0), index, len(names)),
        [*branches, lambda: (image, boxes)],
    )
