"""Boxes follow their pixels through every warp, and images equal those of tensorflow-addons."""

import math

import numpy as np
import pytest
import tensorflow as tf

from keras_efficientdet.data import augment
from keras_efficientdet.data.augment import affine

MOVES = [
    (affine.rotate, 17.0),
    (affine.rotate, -30.0),
    (affine.translate_x, 23.0),
    (affine.translate_x, -31.0),
    (affine.translate_y, 12.0),
    (affine.translate_y, -19.0),
    (affine.shear_x, 0.3),
    (affine.shear_x, -0.2),
    (affine.shear_y, 0.25),
    (affine.shear_y, -0.3),
]
NAMES = [f'{move.__name__} {amount}' for move, amount in MOVES]


def both(move, image, boxes, amount):
    """The moved image and the boxes after it."""
    image, transform = move(image, amount)
    return image, augment.move({'boxes': boxes}, transform)['boxes']


def painted(box, hw=(90, 120)):
    image = np.full((*hw, 3), 128, np.uint8)
    image[box[0] : box[2], box[1] : box[3]] = 255
    return tf.constant(image)


def found_box(image):
    ys, xs = np.nonzero(np.asarray(image)[..., 0] > 200)
    return np.array([ys.min(), xs.min(), ys.max() + 1, xs.max() + 1])


@pytest.mark.parametrize(('move', 'amount'), MOVES, ids=NAMES)
@pytest.mark.parametrize('box', [(20, 40, 60, 80), (35, 50, 45, 62), (30, 20, 50, 100)], ids=str)
def test_a_painted_box_is_found_in_the_moved_one(move, amount, box):
    image, boxes = both(move, painted(box), tf.constant([box], tf.float32), amount)
    assert image.shape == (90, 120, 3) and image.dtype == tf.uint8
    np.testing.assert_allclose(found_box(image), boxes[0], atol=1.5)


@pytest.mark.parametrize(('move', 'amount'), MOVES, ids=NAMES)
def test_boxes_stay_inside_or_vanish(move, amount):
    corners = np.random.default_rng(0).uniform([0, 0], [90, 120], (30, 2, 2))
    boxes = np.sort(corners, 1).reshape(30, 4).astype(np.float32)
    image, moved = both(move, painted((1, 1, 9, 9)), tf.constant(boxes), amount)
    moved = moved.numpy()
    assert (
        np.all(moved >= 0)
        and np.all(moved[:, 2:] <= [90, 120])
        and np.all(moved[:, 2:] >= moved[:, :2])
    )
    assert both(move, image, tf.zeros([0, 4]), amount)[1].shape == (0, 4)


def test_a_box_that_left_never_comes_back():
    box = tf.constant([[10.0, 90.0, 30.0, 110.0]])
    image, boxes = both(affine.translate_x, painted((10, 90, 30, 110)), box, 40.0)
    np.testing.assert_array_equal(boxes, np.zeros((1, 4)))
    for move, amount in MOVES:
        moved = both(move, image, boxes, amount)[1].numpy()[0]
        assert (moved[2] - moved[0]) * (moved[3] - moved[1]) == 0, move


def test_what_comes_in_is_grey():
    image, _ = affine.translate_y(tf.zeros([6, 5, 3], tf.uint8), 2.0)
    assert np.all(image[:2] == affine.GREY) and np.all(image[2:] == 0)


@pytest.mark.parametrize(('move', 'amount'), MOVES, ids=NAMES)
def test_equals_itself_in_map(move, amount):
    image = painted((20, 40, 60, 80))
    boxes = tf.constant([[20.0, 40.0, 60.0, 80.0], [0.0, 0.0, 9.0, 9.0]])
    data = tf.data.Dataset.from_tensors((image, boxes))
    (inside,) = data.map(lambda i, b: both(move, i, b, amount))
    alone = both(move, image, boxes, amount)
    np.testing.assert_array_equal(inside[0], alone[0])
    np.testing.assert_allclose(inside[1], alone[1], atol=1e-4)


def test_bit_equal_to_tensorflow_addons():
    tfa = pytest.importorskip(
        'tensorflow_addons', reason='tensorflow-addons imports on TensorFlow 2.15 alone'
    )
    image = tf.constant(np.random.default_rng(0).integers(0, 256, (41, 57, 3), np.uint8))
    grey = {'fill_value': 128.0}
    wanted = [
        (affine.rotate, 13.0, tfa.image.rotate(image, 13.0 * math.pi / 180.0, **grey)),
        (affine.translate_x, 9.0, tfa.image.translate(image, [9.0, 0.0], **grey)),
        (affine.translate_y, -7.0, tfa.image.translate(image, [0.0, -7.0], **grey)),
        (affine.shear_x, 0.3, tfa.image.shear_x(image, 0.3, 128)),
        (affine.shear_y, 0.2, tfa.image.shear_y(image, 0.2, 128)),
    ]
    for move, amount, expected in wanted:
        np.testing.assert_array_equal(move(image, amount)[0], expected, move.__name__)
