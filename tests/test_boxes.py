"""Box arithmetic against hand values, a plain loop and the official flip and clip."""

import numpy as np
import pytest
import tensorflow as tf

from keras_efficientdet.ops import boxes


def random_boxes(n, seed, size=100.0):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, size, (n, 2, 2)), 1)  # [n, (min, max), (y, x)]
    return corners.reshape(n, 4).astype(np.float32)


def loop_iou(a, b):
    """IoU of every pair, one at a time."""
    table = np.zeros((len(a), len(b)))
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            height = min(p[2], q[2]) - max(p[0], q[0])
            width = min(p[3], q[3]) - max(p[1], q[1])
            if height > 0 and width > 0:
                areas = [(r[2] - r[0]) * (r[3] - r[1]) for r in (p, q)]
                table[i, j] = height * width / (sum(areas) - height * width)
    return table


@pytest.mark.parametrize(
    ('a', 'b', 'expected'),
    [
        ([0, 0, 2, 2], [0, 0, 2, 2], 1.0),
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7),
        ([0, 0, 2, 2], [0, 2, 2, 4], 0.0),
        ([0, 0, 2, 2], [5, 5, 6, 6], 0.0),
        ([0, 0, 4, 2], [1, 0, 3, 2], 0.5),
        ([0, 0, 2, 6], [0, 3, 2, 6], 0.5),
        ([1, 1, 1, 1], [1, 1, 1, 1], 0.0),
        ([0, 0, 0, 5], [0, 0, 4, 5], 0.0),
        ([3, 3, 1, 1], [0, 0, 4, 4], 0.0),
    ],
)
def test_iou_by_hand(a, b, expected):
    assert float(
        boxes.iou(tf.constant([a], tf.float32), tf.constant([b], tf.float32))[0, 0]
    ) == pytest.approx(expected, abs=1e-6)


def test_iou_against_a_loop():
    a, b = random_boxes(17, 0), random_boxes(23, 1)
    expected = loop_iou(a, b)
    assert 0.1 < np.mean(expected > 0) < 0.9
    np.testing.assert_allclose(boxes.iou(a, b), expected, atol=1e-6)


def test_iou_batched_is_single():
    a, b = random_boxes(12, 2).reshape(3, 4, 4), random_boxes(15, 3).reshape(3, 5, 4)
    np.testing.assert_array_equal(
        boxes.iou(a, b), [boxes.iou(p, q) for p, q in zip(a, b, strict=True)]
    )


def test_iou_properties():
    a, b = random_boxes(30, 4), random_boxes(20, 5)
    table = boxes.iou(a, b).numpy()
    np.testing.assert_allclose(table, boxes.iou(b, a).numpy().T, atol=1e-7)  # symmetric
    np.testing.assert_allclose(
        boxes.iou(a * 3 + 8, b * 3 + 8), table, atol=1e-5
    )  # of no unit and no origin
    np.testing.assert_allclose(
        boxes.iou(a[:, [1, 0, 3, 2]], b[:, [1, 0, 3, 2]]), table, atol=1e-6
    )  # y and x alike
    np.testing.assert_allclose(np.diag(boxes.iou(a, a)), 1.0, atol=1e-6)


def test_iou_of_no_boxes_and_its_gradient():
    assert boxes.iou(tf.zeros([0, 4]), random_boxes(3, 0)).shape == (0, 3)
    a = tf.constant([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 4.0, 4.0]])
    with tf.GradientTape() as tape:
        tape.watch(a)
        total = tf.reduce_sum(boxes.iou(a, random_boxes(3, 0, 5.0)))
    assert np.all(np.isfinite(tape.gradient(total, a)))


def test_area():
    np.testing.assert_array_equal(
        boxes.area(tf.constant([[1.0, 2.0, 4.0, 8.0], [0.0, 0.0, 0.0, 3.0], [4.0, 0.0, 1.0, 2.0]])),
        [18.0, 0.0, -6.0],
    )


def test_clip_is_the_official_one(golden):
    case = golden('func/flip_clip.npz')
    np.testing.assert_allclose(
        boxes.clip(case['clip_in'], 40 - 1, 64 - 1), case['clip_out'], atol=1e-6
    )
    assert (
        np.max(np.abs(boxes.clip(case['clip_in'], 64 - 1, 40 - 1) - case['clip_out'])) > 1
    )  # height and width swapped


def test_clip_of_each_picture_to_its_own_size():
    found = boxes.clip(
        tf.constant([[[-1.0, -1.0, 9.0, 9.0]], [[-1.0, -1.0, 9.0, 9.0]]]),
        tf.constant([[5.0], [20.0]]),
        tf.constant([[7.0], [8.0]]),
    )
    np.testing.assert_array_equal(found, [[[0, 0, 5, 7]], [[0, 0, 9, 8]]])


def test_flip_is_the_official_one(golden):
    case = golden('func/flip_clip.npz')
    np.testing.assert_allclose(
        boxes.flip_horizontally(case['flip_in'], 1.0), case['flip_out'], atol=1e-6
    )


def test_flip_twice_is_identity():
    some = random_boxes(9, 6)
    flipped = boxes.flip_horizontally(some, 120.0)
    np.testing.assert_allclose(boxes.flip_horizontally(flipped, 120.0), some, atol=1e-4)
    np.testing.assert_allclose(boxes.area(flipped), boxes.area(some), rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(flipped.numpy()[:, [0, 2]], some[:, [0, 2]])
    assert np.min(np.abs(flipped - some).max(1)) > 0.1
