"""Heat maps by hand and against NumPy; the radius keeps its overlap."""

import math

import numpy as np
import pytest

from keras_efficientdet.ops.heat_maps import gaussian_radius, heat_map, peaks


def iou(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    inside = np.prod(np.maximum(high - low, 0))
    return inside / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inside)


@pytest.mark.parametrize('size', [(10.0, 10.0), (3.0, 40.0), (25.0, 8.0), (1.0, 1.0)])
def test_a_box_whose_corners_move_by_the_radius_still_overlaps(size):
    radius = float(gaussian_radius(np.float32([size]))[0])
    box = np.array([0.0, 0.0, *size])
    moves = [(1, 1, 1, 1), (1, 1, -1, -1), (-1, -1, 1, 1), (-1, -1, -1, -1)]
    overlaps = [iou(box, box + radius * np.array(move)) for move in moves]
    assert min(overlaps) == pytest.approx(0.7, abs=1e-4)


def test_a_patch_of_radius_3_by_hand():
    """Seven cells, sigma 7/6: exp(-d^2 / (2 sigma^2)) at d = 0, 1, 2, 3."""
    found = heat_map(np.array([[4, 5]]), np.array([3]), np.array([1]), (9, 11, 2)).numpy()
    bell = [1.0, math.exp(-18 / 49), math.exp(-72 / 49), math.exp(-162 / 49)]
    assert bell[1:] == pytest.approx([0.69258, 0.23007, 0.03666], abs=1e-4)
    row = np.array([*bell[:0:-1], *bell])
    np.testing.assert_allclose(found[1:8, 2:9, 1], np.outer(row, row), rtol=1e-5)
    assert np.sum(found[..., 1] > 0) == 49 and np.all(found[..., 0] == 0)


def numpy_heat_map(centres, radii, classes, shape):
    """Cell by cell, as the paper's equation has it."""
    heat = np.zeros(shape)
    for (y, x), r, k in zip(centres, radii, classes, strict=True):
        sigma = (2 * r + 1) / 6
        for i in range(max(0, y - r), min(shape[0], y + r + 1)):
            for j in range(max(0, x - r), min(shape[1], x + r + 1)):
                value = math.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * sigma**2))
                heat[i, j, k] = max(heat[i, j, k], value)
    return heat


def test_many_objects_equal_numpy():
    rng = np.random.default_rng(0)
    centres = rng.integers(0, [13, 17], (12, 2))
    radii, classes = rng.integers(0, 6, 12), rng.integers(0, 3, 12)
    found = heat_map(np.int32(centres), np.int32(radii), np.int32(classes), (13, 17, 3))
    np.testing.assert_allclose(
        found, numpy_heat_map(centres, radii, classes, (13, 17, 3)), atol=1e-6
    )


def test_no_object_gives_no_heat():
    none = np.zeros([0], np.int32)
    assert np.all(heat_map(np.zeros([0, 2], np.int32), none, none, (4, 5, 2)).numpy() == 0)


def test_peaks_are_local_maxima():
    heat = np.zeros((1, 6, 7, 2), np.float32)
    heat[0, 1, 2, 0], heat[0, 2, 3, 0], heat[0, 1, 2, 1], heat[0, 5, 6, 1] = 0.9, 0.8, 0.4, 0.6
    y, x, scores, classes = (value.numpy()[0] for value in peaks(heat, 4))
    assert list(zip(y[:3], x[:3], classes[:3], strict=True)) == [(1, 2, 0), (5, 6, 1), (1, 2, 1)]
    np.testing.assert_allclose(scores, [0.9, 0.6, 0.4, 0.0])  # .8 stands beside a higher one
