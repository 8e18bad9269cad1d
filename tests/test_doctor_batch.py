"""The drawn batch: boxes and positive anchors are where the objects are."""

import dataclasses

import numpy as np
from planted import configured, only, written

from keras_efficientdet.doctor.batch import ANCHOR_COLOR, draw_batch


def test_the_drawn_batch_shows_boxes_on_objects_and_anchors_around_them(sources, tmp_path):
    """One red square: its box is drawn around it, and yellow anchors are at that place only."""
    source = only(dataclasses.replace(sources['train'], photos=sources['train'].photos[:1]), {1})
    folder = written(source, tmp_path / 'one')
    sheet = draw_batch(
        folder, configured(jitter_min=1.0, jitter_max=1.0, input_rand_hflip=False, image_size=128)
    )
    factor = 632 / 150  # the sheet leaves 4 pixels on each side
    ymin, xmin, ymax, xmax = source.photos[0].boxes[0] * factor + 4
    yellow = np.all(np.abs(sheet[:640, :640].astype(int) - ANCHOR_COLOR) < 60, -1)
    rows, columns = np.nonzero(yellow)
    assert len(rows) > 200
    side = ymax - ymin
    assert (
        ymin - side < rows.min()
        and rows.max() < ymax + side
        and xmin - side < columns.min()
        and columns.max() < xmax + side
    )
    frame = sheet[round(ymin) - 3 : round(ymin) + 8, round((xmin + xmax) / 2)].astype(int)
    assert np.any(np.all(np.abs(frame - (255, 38, 38)) < 50, -1)), frame
