"""AutoAugment for detection and RandAugment.

A policy is a table of sub-policies, one of which is drawn for each image:
[(operation, probability, magnitude 0..10), ...]. v0 is from the appendix of Zoph et al. 2019,
Learning Data Augmentation Strategies for Object Detection (arXiv 1906.11172); entries of
probability 0 or magnitude 0 represent the paper's empty sub-policy. v1, v2 and v3 are not in the
paper; they follow the authors' later trainings (docs/DIFFERENCES.md).
RandAugment: Cubuk et al. 2019 (arXiv 1909.13719).
"""

import functools

import numpy as np
import tensorflow as tf

from keras_efficientdet.data.augment.annotations import moved, unmoved
from keras_efficientdet.data.augment.operations import BOXES_ALONE, apply

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


def distort(example, policy, seed):
    """Changes an example by a policy.

    Args:
      example: dict of image uint8 [H, W, 3], boxes float32 [N, 4] in pixels and other annotations.
      policy: 'v0', 'v1', 'v2', 'v3' or 'randaug'.
      seed: int [2].
    Returns:
      the changed example; boxes that left the image are all 0.
    """
    if policy == 'randaug':
        return randaugment(example, seed)
    return autoaugment(example, POLICIES[policy], seed)


def autoaugment(example, table, seed):
    """One of the table's sub-policies, drawn; see `distort`."""
    names, indexes, probabilities, levels = _arrays(table)
    steps = indexes.shape[1]
    seeds = tf.random.experimental.stateless_split(seed, steps + 1)
    drawn = tf.random.stateless_uniform([], seeds[0], 0, len(table), tf.int32)
    for k in range(steps):
        index = tf.constant(indexes)[drawn, k]
        probability = tf.constant(probabilities)[drawn, k]
        level = tf.constant(levels)[drawn, k]
        example = _maybe(names, index, probability, level, example, seeds[k + 1])
    return example


def randaugment(example, seed, layers=RANDOM_LAYERS, magnitude=RANDOM_MAGNITUDE):
    """`layers` operations of `RANDOM` in turn, each with a drawn probability; see `distort`."""
    low, high = RANDOM_PROBABILITY
    for own in tf.unstack(tf.random.experimental.stateless_split(seed, layers)):
        seeds = tf.random.experimental.stateless_split(own, 3)
        index = tf.random.stateless_uniform([], seeds[0], 0, len(RANDOM), tf.int32)
        probability = tf.random.stateless_uniform([], seeds[1], low, high)
        level = tf.constant(magnitude)
        example = _maybe(RANDOM, index, probability, level, example, seeds[2])
    return example


def _arrays(table):
    """The names of the operations in a table, and its columns as arrays [sub-policy, step].

    The columns are index among the names, probability and magnitude. Shorter sub-policies are
    padded with steps of probability 0.
    """
    names = tuple(sorted({name for steps in table for name, _, _ in steps}))
    longest = max(len(steps) for steps in table)
    nothing = (names[0], 0.0, 0)
    rows = [[*steps, *[nothing] * (longest - len(steps))] for steps in table]
    indexes = [[names.index(name) for name, _, _ in row] for row in rows]
    probabilities = [[probability for _, probability, _ in row] for row in rows]
    levels = [[level for _, _, level in row] for row in rows]
    return names, np.int32(indexes), np.float32(probabilities), np.float32(levels)


def _maybe(names, index, probability, level, example, seed):
    """Operation `index` of `names` with a probability. Only the branch that is taken runs."""
    image, boxes = example['image'], example['boxes']
    seeds = tf.random.experimental.stateless_split(seed, 2)
    each_box = tf.gather(tf.constant([name in BOXES_ALONE for name in names]), index)
    taken = each_box | (tf.random.stateless_uniform([], seeds[0]) < probability)
    branches = [
        functools.partial(apply, name, image, boxes, level, probability, seeds[1]) for name in names
    ]
    changed, transform = tf.switch_case(
        tf.where(taken & (probability > 0.0), index, len(names)),
        [*branches, lambda: (image, unmoved(image))],
    )
    return moved(example, changed, transform)
