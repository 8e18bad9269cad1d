"""Masks moved with their images, sampled for the logits, and brought back to images."""

import numpy as np
import pytest
import tensorflow as tf

from keras_efficientdet.ops import class_masks, images

IDENTITY = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
EVERYWHERE = [[-np.inf, -np.inf], [np.inf, np.inf]]


def warped(mask, matrix, size, bounds=EVERYWHERE):
    mask = tf.constant(np.uint8(mask)[..., None])
    moved = class_masks.warped(mask, tf.constant(matrix), tf.constant(size), tf.constant(bounds))
    return moved.numpy()[..., 0].tolist()


def test_a_shift_by_hand():
    mask = [[1, 2, 3], [4, 5, 6]]
    assert warped(mask, IDENTITY, [2, 3]) == mask
    shifted = [[1.0, 0.0, 1.0], [0.0, 1.0, -1.0]]  # one down, one to the left
    assert warped(mask, shifted, [2, 3]) == [[255, 255, 255], [2, 3, 255]]


def test_doubling_and_halving_by_hand():
    mask = [[1, 2], [3, 4]]
    double = [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
    assert warped(mask, double, [4, 4]) == np.kron(mask, np.ones((2, 2))).tolist()
    half = [[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]
    # The middle of the one pixel is the corner of four: the second in each direction.
    assert warped(mask, half, [1, 1]) == [[4]]


def test_a_quarter_turn_by_hand():
    turned = [[0.0, 1.0, 0.0], [-1.0, 0.0, 2.0]]  # (y, x) -> (x, 2 - y)
    assert warped([[1, 2, 3], [4, 5, 6]], turned, [3, 2]) == [[4, 1], [5, 2], [6, 3]]


def test_beyond_the_bounds_is_ignored_and_a_pixel_may_reach_over_them():
    mask = np.full((4, 4), 7)
    found = warped(mask, IDENTITY, [4, 4], [[0.0, 0.0], [2.0, 3.0]])
    assert [row.count(7) for row in found] == [4, 4, 4, 0]


def test_cells_have_the_class_of_the_pixel_in_their_middle():
    mask = np.arange(60, dtype=np.uint8).reshape(6, 10, 1)
    cells = class_masks.at_cells(tf.constant(mask), [2, 4], 4)
    assert cells.shape == (2, 4)
    assert cells.numpy().tolist() == [[22, 26, 255, 255], [255] * 4]


@pytest.mark.parametrize('size', [(9, 17), (64, 40), (33, 100)])
def test_a_mask_comes_back_to_its_image(size):
    """Prepared as its image is and brought back, it is the mask, but for edges of regions."""
    coarse = np.random.default_rng(0).integers(0, 4, (3, 3))
    mask = np.kron(coarse, np.ones((40, 40)))[: size[0], : size[1]].astype(np.uint8)
    colours = np.repeat(mask[..., None] * 60, 3, -1)
    prepared, scale_back = images.prepare(
        tf.constant(colours[None]), (64, 64), (0.0,) * 3, (1.0,) * 3
    )
    at_input = tf.cast(tf.round(prepared[..., 0] / 60), tf.uint8)
    back = class_masks.undo(at_input, scale_back, tf.constant([size])).numpy()[0]
    assert back.shape == size and np.mean(back == mask) > 0.9
    in_numpy = images.unfitted(at_input.numpy()[0], size, float(scale_back[0]))
    np.testing.assert_array_equal(in_numpy, back)


def test_images_of_different_sizes_share_a_batch():
    masks = tf.constant(np.uint8([[[1, 2], [3, 4]], [[5, 6], [7, 8]]]))
    found = class_masks.undo(masks, tf.constant([1.0, 2.0]), tf.constant([[2, 1], [2, 4]]))
    assert found.numpy().tolist() == [
        [[1, 255, 255, 255], [3, 255, 255, 255]],
        [[5, 5, 6, 6], [5, 5, 6, 6]],
    ]
