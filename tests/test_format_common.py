"""`photo`: which boxes are kept, as what, and what is counted."""

import collections
import math
import pathlib

import numpy as np
import pytest

from keras_efficientdet.data.formats.common import photo
from keras_efficientdet.data.source import Change

SIZE = (80, 96)  # height, width


def made(*rows):
    """(boxes, areas, changes) of a photo of rows (box, area)."""
    changes = collections.Counter()
    result = photo(
        pathlib.Path('a.png'), 1, SIZE, [(box, 1, area, False) for box, area in rows], changes
    )
    return result.boxes.tolist(), list(result.areas), {k: v for k, v in changes.items() if v}


@pytest.mark.parametrize(
    'box', [(60, 50, 12, 10), (12, 50, 60, 10), (60, 10, 12, 50)], ids=['both', 'x', 'y']
)
def test_swapped_corners_are_put_right(box):
    assert made((box, None)) == ([[12, 10, 60, 50]], [1920], {Change.REVERSED_BOX: 1})


@pytest.mark.parametrize(
    'box',
    [(5, 5, 5, 9), (5, 5, 5 + 1e-6, 9), (5, 90, 9, 90), (79.9999999, 5, 80.5, 9), (9, 9, 9, 3)],
)
def test_no_side_may_be_too_small_for_records(box):
    boxes, _, changes = made((box, None))
    assert not boxes
    assert sum(changes.values()) == 1
    assert set(changes) < {Change.EMPTY_BOX, Change.BOX_OUTSIDE}


def test_a_side_that_float32_cannot_hold_is_of_zero_size():
    changes = collections.Counter()
    rows = [((50001, 1, 50001.0015, 9), 1, None, False)]
    assert not len(photo(pathlib.Path('a'), 1, (60000, 60000), rows, changes).boxes)
    assert changes[Change.EMPTY_BOX] == 1


def test_a_cut_box_has_the_area_of_what_is_left():
    boxes, areas, changes = made(((-10, 90, 20, 100), None), ((-10, 90, 20, 100), 300))
    assert boxes == [[0, 90, 20, 96]] * 2
    assert areas == [120, 300]  # a stated area is that of an outline, and stays
    assert changes == {Change.BOX_CUT: 2}


@pytest.mark.parametrize('area', [math.nan, math.inf, -4.0])
def test_an_area_that_is_no_positive_number_is_replaced(area):
    expected = ([[12, 10, 60, 50]], [1920], {Change.INVALID_AREA: 1})
    assert made(((12, 10, 60, 50), area)) == expected


@pytest.mark.parametrize('area', [None, 0, 0.0])
def test_an_area_that_is_not_stated_is_no_change(area):
    assert made(((12, 10, 60, 50), area)) == ([[12, 10, 60, 50]], [1920], {})


def test_what_is_right_stays_as_it_is():
    boxes = np.array([[0, 0, 80, 96], [1.25, 2.5, 3.75, 4.125]])
    found, _, changes = made(*((box, None) for box in boxes))
    assert found == boxes.tolist() and not changes
