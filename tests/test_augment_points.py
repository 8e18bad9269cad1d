"""Key points follow every augmentation: of painted dots, each is where its point says."""

import numpy as np
import pytest
import tensorflow as tf
from test_augment_masks import OPERATIONS, RAW

from keras_efficientdet import load_config
from keras_efficientdet.data import augment
from keras_efficientdet.data.augment import policies
from keras_efficientdet.data.example import augmented_example

COLORS = np.array([(250, 30, 30), (30, 250, 30), (30, 30, 250)], np.float32)
RADIUS = 5


def dotted(seed, size=(90, 140)):
    """An example of three points, around each of which a disc of its class's colour is painted."""
    rng = np.random.default_rng(seed)
    image = np.full((*size, 3), 90, np.float32)
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    points = []
    for k, color in enumerate(COLORS):
        # One in each third, so that no disc covers another.
        point = rng.uniform((20, k * size[1] / 3 + 10), (size[0] - 20, (k + 1) * size[1] / 3 - 10))
        image[np.hypot(y - point[0], x - point[1]) <= RADIUS] = color
        points.append([*point, *point])
    return {
        'image': tf.constant(image.astype(np.uint8)),
        'boxes': tf.constant(np.float32(points)),
        'classes': tf.constant([0, 1, 2]),
        'crowd': tf.constant([False] * 3),
    }


def distances(example):
    """Of each point in the image: pixels to the middle of the nearest patch of its colour."""
    image = np.float32(example['image'])
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    result = []
    for (row, column, *_), k in zip(
        example['boxes'].numpy(), example['classes'].numpy(), strict=True
    ):
        painted = np.sum((image - COLORS[k]) ** 2, -1) < 80**2
        near = painted & (np.hypot(y - row, x - column) < 4 * RADIUS)
        whole = 15 < row < image.shape[0] - 15 and 15 < column < image.shape[1] - 15
        if whole:
            result.append(np.hypot(y[near].mean() - row, x[near].mean() - column))
    return result


@pytest.mark.parametrize('name', OPERATIONS)
def test_every_operation(name):
    found = []
    for seed in range(4):
        example = dotted(seed)
        moved = augment.moved(example, *OPERATIONS[name](example['image']))
        found += distances(augment.select(moved, augment.is_point(moved['boxes'])))
    assert len(found) >= 3 and max(found) < 1.0


def test_the_test_notices_points_that_stay():
    example = dotted(0)
    image, _ = OPERATIONS['shift'](example['image'])
    assert max(distances({**example, 'image': image})) > 5


@pytest.mark.parametrize('policy', [*policies.POLICIES, 'randaug'])
def test_policies_take_points(policy):
    """Colours change, so here only that none is lost that did not leave."""
    kept = 0
    for seed in range(6):
        example = augment.distort(dotted(seed), policy, tf.constant([seed, 7]))
        height, width, _ = example['image'].shape
        inside = example['boxes'].numpy()[augment.is_point(example['boxes']).numpy()]
        assert np.all(inside[:, :2] == inside[:, 2:])
        assert np.all((inside >= 0) & (inside <= [height, width] * 2))
        kept += len(inside)
    assert kept >= 9


@pytest.mark.parametrize('seed', range(6))
def test_the_whole_way_into_training(seed):
    """With mosaics, jitter and both flips. Names without a side keep their class when mirrored."""
    settings = {
        'head': 'points',
        'input_rand_vflip': True,
        'mosaic_prob': 0.5,
        'jitter_min': 0.7,
        'jitter_max': 1.5,
    }
    config = load_config('efficientdet-lite0', [RAW, settings])
    examples = tuple(dotted(4 * seed + i) for i in range(4))
    example = augmented_example(examples, tf.constant(seed, tf.int64), config)
    found = distances(example)
    assert len(example['boxes']) >= 1 and (not found or max(found) < 1.5)


def test_objects_with_a_size_are_learned_from_as_points_too():
    settings = {'head': 'points', 'input_rand_hflip': False, 'jitter_min': 1.0, 'jitter_max': 1.0}
    config = load_config('efficientdet-lite0', [RAW, settings])
    example = dotted(0, (96, 128))
    example['boxes'] += [[-9.0, -9.0, 9.0, 9.0], [0.0] * 4, [-5.0, 0.0, 5.0, 0.0]]
    found = augmented_example(example, tf.constant(0, tf.int64), config)
    assert found['classes'].numpy().tolist() == [0, 1]  # the third is a line, which is nothing
