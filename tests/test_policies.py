"""Policies: their tables, boxes that stay on their objects, and one example from one seed."""

import numpy as np
import pytest
import tensorflow as tf

from keras_efficientdet.config import AUTOAUGMENT_POLICIES
from keras_efficientdet.data import augment
from keras_efficientdet.data.augment import operations, policies

HW, BOX = (300, 360), (110, 130, 190, 230)


def painted():
    """Grey noise and one white rectangle with a black frame of 3 pixels."""
    image = np.random.default_rng(0).integers(60, 140, (*HW, 3)).astype(np.uint8)
    image[BOX[0] : BOX[2], BOX[1] : BOX[3]] = 255
    return tf.constant(image), tf.constant([BOX], tf.float32)


def operated(name, image, boxes, level, probability, seed):
    """(image, boxes) after an operation."""
    image, transform = operations.apply(name, image, boxes, level, probability, seed)
    return image, augment.move({'boxes': boxes}, transform)['boxes']


def distorted(change, image, boxes, *arguments):
    """(image, boxes) after a change of an example."""
    example = change({'image': image, 'boxes': boxes}, *arguments)
    return example['image'], example['boxes']


@pytest.fixture(scope='module')
def distort():
    """{policy: the graph of `distort`}: each traced once."""
    shapes = [
        tf.TensorSpec([None, None, 3], tf.uint8),
        tf.TensorSpec([None, 4]),
        tf.TensorSpec([2], tf.int32),
    ]
    return {
        name: tf.function(
            lambda i, b, s, name=name: distorted(policies.distort, i, b, name, s),
            input_signature=shapes,
        )
        for name in AUTOAUGMENT_POLICIES
    }


@pytest.mark.parametrize('name', policies.POLICIES)
def test_tables_are_whole(name):
    table = policies.POLICIES[name]
    assert len(table) == {'v0': 5, 'v1': 20, 'v2': 15, 'v3': 15}[name]
    for steps in table:
        assert len(steps) in ((2, 3) if name == 'v2' else (2,))
        for operation, probability, magnitude in steps:
            assert (
                operation in operations.OPERATIONS
                and 0.0 <= probability <= 1.0
                and magnitude in range(11)
            )


def test_names_are_those_of_the_configuration():
    assert (*policies.POLICIES, 'randaug') == AUTOAUGMENT_POLICIES
    assert set(policies.RANDOM) <= set(operations.PICTURE)


def test_arrays_say_what_the_table_says():
    names, indexes, probabilities, levels = policies._arrays(policies.V2)
    for row, steps in enumerate(policies.V2):
        for k, (operation, probability, magnitude) in enumerate(steps):
            assert names[indexes[row, k]] == operation
            assert (probabilities[row, k], levels[row, k]) == (np.float32(probability), magnitude)
        assert np.all(probabilities[row, len(steps) :] == 0)


@pytest.mark.parametrize(
    ('hw', 'level', 'wanted'),
    [
        ((480, 640), 8, (200, 200, 80)),
        ((900, 1280), 8, (200, 200, 80)),  # pixels: to the right, down, half a hole
        ((240, 320), 8, (100, 100, 40)),
        ((300, 200), 4, (46, 46, 18)),
        ((120, 160), 15, (80, 60, 37)),
    ],
)
def test_small_pictures_are_moved_and_hidden_in_proportion(hw, level, wanted):
    """Each picture keeps half of its height and width."""
    image, level, more = (
        tf.fill([*hw, 3], tf.constant(255, tf.uint8)),
        tf.constant(float(level)),
        (tf.constant(1.0), [1, 1]),
    )
    box = np.array([[hw[0] // 2 - 1, hw[1] // 2 - 1, hw[0] // 2 + 1, hw[1] // 2 + 1]], np.float32)
    for name, axis, pixels in (
        ('TranslateX_BBox', 1, wanted[0]),
        ('TranslateY_BBox', 0, wanted[1]),
    ):
        moved, boxes = operated(name, image, box, level, *more)
        grey = np.all(moved.numpy()[..., 0] != 255, 1 - axis)
        assert grey.sum() == pixels and pixels <= hw[axis] // 2
        assert abs(boxes[0, axis] - box[0, axis]) in (
            pixels,
            pixels - 1,
        )  # one pixel is cut at half a side
    hidden = np.stack(
        [
            operated('Cutout', image, box, level, tf.constant(1.0), [k, 1])[0][..., 0]
            for k in range(20)
        ]
    )
    assert (
        (hidden != 255).any(2).sum(1).max() == (hidden != 255).any(1).sum(1).max() == 2 * wanted[2]
    )


MOVING = [
    name
    for name in operations.PICTURE
    if 'Translate' in name or 'Shear' in name or 'Rotate' in name
]


@pytest.mark.parametrize('name', operations.OPERATIONS)
def test_every_operation(name):
    image, boxes = painted()
    changed = False
    for seed in range(3):
        found, moved = operated(
            name, image, boxes, tf.constant(3.0), tf.constant(1.0), tf.constant([seed, 1])
        )
        assert found.dtype == tf.uint8 and found.shape == image.shape and moved.shape == boxes.shape
        outside = np.ones(HW, bool)
        outside[BOX[0] : BOX[2], BOX[1] : BOX[3]] = False
        if name in operations.BOXES_ALONE:
            np.testing.assert_array_equal(found.numpy()[outside], image.numpy()[outside])
        if name in MOVING:
            ys, xs = np.nonzero(found.numpy()[..., 0] == 255)
            np.testing.assert_allclose(
                [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1], moved[0], atol=1.5
            )
        else:
            np.testing.assert_array_equal(moved, boxes)
        changed |= bool(np.any(found != image))
        none = operated(
            name,
            image,
            tf.zeros([0, 4]),
            tf.constant(3.0),
            tf.constant(1.0),
            tf.constant([seed, 1]),
        )
        assert none[1].shape == (0, 4)
    # The inside of the one white box has one level (Equalize) and is its own mirror image (Flip).
    assert changed or name in ('Equalize_Only_BBoxes', 'Flip_Only_BBoxes', 'Solarize_Only_BBoxes')


def test_every_operation_equals_itself_in_map():
    image, boxes = painted()

    def all_of(image, boxes):
        return {
            name: operated(
                name, image, boxes, tf.constant(3.0), tf.constant(1.0), tf.constant([5, 1])
            )
            for name in operations.OPERATIONS
        }

    (inside,), alone = (
        tf.data.Dataset.from_tensors((image, boxes)).map(all_of),
        all_of(image, boxes),
    )
    for name, (picture, moved) in alone.items():
        # A graph optimiser may round an angle differently, which changes some nearest pixels.
        assert np.mean(np.any(inside[name][0] != picture, -1)) <= (
            1e-3 if 'Rotate' in name else 0
        ), name
        np.testing.assert_allclose(inside[name][1], moved, atol=1e-3)


@pytest.mark.parametrize(
    'name',
    ['v0', 'randaug', *(pytest.param(name, marks=pytest.mark.slow) for name in ('v1', 'v2', 'v3'))],
)
def test_policies_are_stateless_and_differ_by_seed(name, distort):
    image, boxes = painted()
    seeds = np.stack([np.arange(12), np.full(12, 7)], 1).astype(np.int32)
    alone = [distort[name](image, boxes, tf.constant(seed)) for seed in seeds]
    mapped = tf.data.Dataset.from_tensor_slices(seeds).map(
        lambda s: distort[name](image, boxes, s), num_parallel_calls=2
    )
    for (picture, moved), (again, moved_again) in zip(alone, mapped, strict=True):
        # A graph optimiser may round an angle differently, which changes some nearest pixels.
        assert np.mean(np.any(picture != again, -1)) < 1e-3
        np.testing.assert_allclose(moved, moved_again, atol=1e-3)
        assert np.all(moved >= 0) and np.all(moved.numpy()[:, 2:] <= HW)
    assert len({picture.numpy().tobytes() for picture, _ in alone}) >= 5
    assert distort[name](image, tf.zeros([0, 4]), tf.constant([1, 2]))[1].shape == (0, 4)


def test_each_operation_comes_with_its_probability():
    image, boxes = painted()
    table = ((('Solarize', 0.3, 0), ('TranslateX_BBox', 0.0, 10)),)
    run = tf.function(lambda s: distorted(policies.autoaugment, image, boxes, table, s))
    results = [run(tf.constant([k, 3])) for k in range(150)]
    share = np.mean([np.any(picture != image) for picture, _ in results])
    assert 0.2 < share < 0.4
    assert all(np.array_equal(moved, boxes) for _, moved in results)
