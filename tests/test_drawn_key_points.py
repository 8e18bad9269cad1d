"""The drawn kites: their points are where the picture shows them, and images can be repeated."""

import csv
import pathlib
import sys

import numpy as np
import pytest

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / 'tools'))
import drawn_key_points


@pytest.mark.parametrize('seed', range(5))
def test_points_lie_on_the_edge_of_the_kite(seed):
    """A step inwards is on the kite, a step outwards is not."""
    image, points = drawn_key_points.draw_image(np.random.default_rng([seed, 0]))
    assert set(points) == set(drawn_key_points.NAMES)
    corners = [points[name] for name in ('nose', 'right_tip', 'tail', 'left_tip')]
    filled = drawn_key_points._filled(corners, image.shape[:2])
    middle = np.mean(corners, 0)
    for corner in np.array(corners):
        step = 6 * (middle - corner) / np.linalg.norm(middle - corner)
        inside, outside = np.int32(corner + step), np.int32(corner - step)
        assert filled[tuple(inside)] == 1 and filled[tuple(outside)] == 0


def test_left_is_left_of_the_way_from_tail_to_nose():
    points = drawn_key_points.kite((100, 100), 80, np.pi / 3)
    nose, tail, left, right = (
        np.array(points[name]) for name in ('nose', 'tail', 'left_tip', 'right_tip')
    )
    ahead, across = nose - tail, left - right
    # y grows downwards: to the left of the direction x = 1 is y = -1.
    assert ahead[1] * across[0] - ahead[0] * across[1] < 0
    to_the_right = drawn_key_points.kite((100, 100), 80, 0.0)
    assert to_the_right['left_tip'][0] < 100 < to_the_right['right_tip'][0]


def test_the_table_and_the_images_can_be_drawn_again(tmp_path):
    first = drawn_key_points.draw_data_set(2, 3, tmp_path / 'first')
    again = drawn_key_points.draw_data_set(3, 3, tmp_path / 'again')
    rows = list(csv.DictReader(first.read_text().splitlines()))
    assert len(rows) == 8 and rows == list(csv.DictReader(again.read_text().splitlines()))[:8]
    for name in ('00000.png', '00001.png'):
        assert (first.parent / name).read_bytes() == (again.parent / name).read_bytes()
    with pytest.raises(FileExistsError):
        drawn_key_points.draw_data_set(1, 3, tmp_path / 'first')
