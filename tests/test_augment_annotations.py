"""Annotations follow the Transform of their image, whatever operation returned it."""

import numpy as np
import pytest
import tensorflow as tf

from keras_efficientdet.data import augment
from keras_efficientdet.data.augment import affine, annotations

IMAGE = tf.zeros([40, 60, 3], tf.uint8)
BOXES = tf.constant([[4.0, 6.0, 20.0, 30.0], [5.0, 5.0, 5.0, 50.0]])  # the second has no area
EXAMPLE = {
    'image': IMAGE,
    'boxes': BOXES,
    'classes': tf.constant([3, 4]),
    'crowd': tf.constant([False, True]),
    'id': tf.constant(17, tf.int64),
}
OPERATIONS = {
    'flip': lambda: augment.random_flip(IMAGE, tf.constant(0.9)),
    'no flip': lambda: augment.random_flip(IMAGE, tf.constant(0.1)),
    'vertical flip': lambda: augment.random_vertical_flip(IMAGE, tf.constant(0.9)),
    'jitter': lambda: augment.scale_jitter(IMAGE, (32, 48), 0.5, 2.0, tf.constant([0.9, 0.5, 0.2])),
    'rotation': lambda: affine.rotate(IMAGE, 20.0),
    'shear': lambda: affine.shear_x(IMAGE, 0.2),
    'shift': lambda: affine.translate_y(IMAGE, 7.0),
}


@pytest.mark.parametrize('name', OPERATIONS)
def test_the_size_of_a_transform_is_that_of_the_image(name):
    image, transform = OPERATIONS[name]()
    assert transform.size.numpy().tolist() == image.shape[:2].as_list()
    assert transform.matrix.shape == (2, 3) and transform.matrix.dtype == tf.float32


@pytest.mark.parametrize('name', OPERATIONS)
def test_a_box_is_the_hull_of_its_moved_corners(name):
    _, transform = OPERATIONS[name]()
    ymin, xmin, ymax, xmax = BOXES[0].numpy()
    corners = np.array([[y, x, 1.0] for y in (ymin, ymax) for x in (xmin, xmax)])
    points = corners @ transform.matrix.numpy().T
    low, high = transform.bounds.numpy()
    hull = np.concatenate([points.min(0).clip(low, high), points.max(0).clip(low, high)])
    found = augment.move({'boxes': BOXES}, transform)['boxes'][0]
    np.testing.assert_allclose(found, hull, atol=1e-4)


@pytest.mark.parametrize('name', OPERATIONS)
def test_a_box_without_area_gains_none(name):
    _, transform = OPERATIONS[name]()
    moved = augment.move({'boxes': BOXES}, transform)['boxes']
    assert augment.with_area(moved).numpy().tolist() == [True, False]


def test_what_has_no_place_in_the_image_stays():
    image, transform = OPERATIONS['flip']()
    moved = augment.moved(EXAMPLE, image, transform)
    assert moved['image'] is image
    assert all(moved[name] is EXAMPLE[name] for name in ('classes', 'crowd', 'id'))
    assert set(moved) == set(EXAMPLE)


def test_objects_are_selected_with_all_that_they_have():
    kept = augment.select(EXAMPLE, tf.constant([False, True]))
    assert kept['classes'].numpy().tolist() == [4] and kept['crowd'].numpy().tolist() == [True]
    np.testing.assert_array_equal(kept['boxes'], BOXES[1:])
    assert kept['id'] is EXAMPLE['id'] and kept['image'] is IMAGE


def test_moving_nothing_changes_no_bit():
    boxes = tf.constant(np.random.default_rng(0).uniform(0, 40, (50, 4)), tf.float32)
    boxes = tf.concat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], -1)
    moved = augment.move({'boxes': boxes}, annotations.unmoved(IMAGE))
    np.testing.assert_array_equal(moved['boxes'], boxes)
