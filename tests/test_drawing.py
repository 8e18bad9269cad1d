"""Drawings: pixels where they belong, nothing elsewhere."""

import itertools

import numpy as np
import pytest
from PIL import Image

from keras_efficientdet import Detections, draw
from keras_efficientdet.evaluation.report.learning_curves import learning_curves, save_curves
from keras_efficientdet.imaging.drawing import Mark, color, draw_marks, grid


def detections(boxes, scores, classes, names=('cat', 'dog')):
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(classes, np.int32),
        names,
        tuple(range(1, len(names) + 1)),
    )


def picture(height=200, width=300):
    return np.full((height, width, 3), 90, np.uint8)


def test_outline_stands_on_the_box():
    drawn = draw(picture(), detections([[60, 40, 160, 240]], [0.9], [1]))
    outline = np.all(drawn == color(1), -1)
    for row, column in ((60, 140), (160, 140), (110, 40), (110, 240)):
        assert outline[row, column]
    assert np.all(drawn[70:150, 50:230] == 90)  # inside
    changed = np.argwhere(np.any(drawn != 90, -1))
    assert changed[:, 0].max() == 160 and changed[:, 1].max() == 240 and changed[:, 1].min() == 40


def test_text_stands_above_the_box_and_names_the_class():
    one, other = (
        draw(picture(), detections([[60, 40, 160, 240]], [0.9], [0], names))
        for names in (('cat',), ('zebra',))
    )
    above = np.any(one != 90, -1)[:58]
    assert 50 < above.sum() < 3000
    difference = np.argwhere(np.any(one != other, -1))
    assert len(difference) > 20 and difference[:, 0].max() < 62


def test_low_scores_are_not_drawn_and_the_picture_is_not_changed():
    image = picture()
    found = detections([[60, 40, 160, 240], [10, 10, 50, 50]], [0.29, 0.1], [0, 1])
    np.testing.assert_array_equal(draw(image, found), image)
    assert np.any(draw(image, found, min_score=0.2) != image)
    assert np.all(image == 90)
    np.testing.assert_array_equal(draw(image, detections([], [], [])), image)


def test_boxes_at_and_beyond_the_edge():
    drawn = draw(
        picture(),
        detections([[0, 0, 200, 300], [-20, -20, 500, 500], [5, 5, 5, 5]], [0.9] * 3, [0, 1, 1]),
    )
    assert drawn.shape == (200, 300, 3) and np.all(drawn[0, 150] == color(0))


@pytest.mark.parametrize('size', [(64, 96), (480, 640), (1500, 2000)])
@pytest.mark.parametrize('corner', [(-9.6, -4.2), (0.0, 0.0), (7.3, 30.8), (0.5, 0.95)], ids=str)
def test_a_text_is_whole_wherever_its_box_stands(size, corner):
    """The top left corner is in pixels, or in parts of the image."""
    ymin, xmin = (
        c if abs(c) > 1 or c == 0 else c * side for c, side in zip(corner, size, strict=True)
    )
    blank = np.full((*size, 3), 90, np.uint8)
    drawn = draw_marks(
        blank, [Mark((ymin, xmin, ymin + size[0], xmin + size[1]), (255, 255, 0), 'van 0.52')]
    )
    rows, columns = np.nonzero(np.all(drawn < 60, -1))  # black letters
    height = max(10, min(size) / 32)
    assert 0.55 * height <= np.ptp(rows) + 1 <= height  # digits and letters without descenders
    assert np.ptp(columns) + 1 > 3 * height and columns.min() >= 2 and columns.max() < size[1] - 1


def test_lines_do_not_cross_texts():
    first, second = (
        Mark((40.0, 40.0, 150.0, 150.0), (255, 255, 0), 'van'),
        Mark((30.0, 10.0, 160.0, 160.0), (0, 0, 255)),
    )
    one, both = draw_marks(picture(), [first]), draw_marks(picture(), [first, second])
    text = np.argwhere(np.all(one < 60, -1))
    assert len(text) > 20 and np.all(both[tuple(text.T)] < 60)


def test_names_can_be_given():
    found = detections([[60, 40, 160, 240]], [0.9], [0])
    assert np.any(draw(picture(), found, names=('something else',)) != draw(picture(), found))


def test_colors_differ_between_neighbours():
    colors = [color(i) for i in range(90)]
    assert len(set(colors)) == 90
    assert min(np.abs(np.subtract(a, b)).sum() for a, b in itertools.pairwise(colors)) > 60


def test_grid_places_each_picture_in_its_cell():
    shades = (40, 80, 120, 160)
    pictures = [np.full((100 + 30 * i, 90, 3), shade, np.uint8) for i, shade in enumerate(shades)]
    sheet = grid(pictures, columns=3, cell=(60, 80))
    assert sheet.shape == (120, 240, 3)
    for i, shade in enumerate(shades):
        top, left = 60 * (i // 3), 80 * (i % 3)
        assert np.all(sheet[top + 10, left + 10] == shade)
        ys, xs = np.nonzero(sheet[top : top + 60, left : left + 80, 0] == shade)
        assert ys.max() < 58 and (np.ptp(ys) + 1) / (np.ptp(xs) + 1) == np.float64(
            ys.size / (np.ptp(xs) + 1) ** 2
        )
    assert np.all(sheet[70:, 90:] == 255)


def test_curves_with_missing_epochs(tmp_path):
    (tmp_path / 'log.csv').write_text('epoch,loss,val_AP\n1,2.0,\n2,1.5,0.1\n3,1.0,\n4,0.5,0.3\n')
    (tmp_path / 'other.csv').write_text('epoch,loss,val_AP\n1,2.0,\n2,1.9,0.1\n3,1.0,\n4,0.5,0.3\n')
    save_curves(tmp_path / 'log.csv', tmp_path / 'curves.png')
    save_curves(tmp_path / 'other.csv', tmp_path / 'other.png')
    one, other = (
        np.asarray(Image.open(tmp_path / name).convert('L')).astype(int)
        for name in ('curves.png', 'other.png')
    )
    width = one.shape[1]
    assert (one < 200).sum() > 1000
    assert np.any(one[:, : width // 2] != other[:, : width // 2]) and np.all(
        one[:, width // 2 + 20 :] == other[:, width // 2 + 20 :]
    )


def test_curves_have_a_panel_for_what_was_logged(tmp_path):
    (tmp_path / 'log.csv').write_text('epoch,loss,learning_rate\n1,2.0,0.1\n2,1.5,0.05\n')
    loss, rate = learning_curves(tmp_path / 'log.csv').axes
    assert (loss.get_title(), rate.get_title()) == ('loss', 'learning rate')
    np.testing.assert_array_equal(rate.lines[0].get_xydata(), [[1, 0.1], [2, 0.05]])
