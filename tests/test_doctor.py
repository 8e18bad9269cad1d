"""Anchor coverage on drawn boxes whose answer is known."""
import math
import re

import drawn
import numpy as np
import pytest
from test_boxes import loop_iou

from keras_efficientdet import anchors, load_config
from keras_efficientdet.doctor import CANDIDATE_SCALES, advice, anchor_coverage


def config_for(**change):
    return load_config('efficientdet-lite0', [{'image_size': 128, 'num_classes': 3, 'label_map': drawn.LABELS, 'batch_size': 2,
                                               'anchor_scale': 4.0}, change])


def squares(side, category, count=5):
    """Squares centred on places of the finest level."""
    return [drawn.box(4 + 8 * (3 * i + 1) - side / 2, 4 + 8 * (2 * i + 2) - side / 2, side, side, category) for i in range(count)]


@pytest.fixture
def tiny_and_big(tmp_path):
    """Class 1 has 12-pixel squares, class 18 large ones, class 400 does not occur."""
    return drawn.records(tmp_path, [(128, 128, squares(12, 1)), (128, 128, squares(36, 18, 3)), (128, 128, [])])


def test_too_big_anchors_are_flagged_with_the_scale_that_covers(tiny_and_big):
    table = anchor_coverage(tiny_and_big, config_for())
    assert list(table) == [4.0, *(s for s in CANDIDATE_SCALES if s != 4.0)]
    assert table[4.0]['cat'] == 0. and table[4.0]['dog'] == 1. and math.isnan(table[4.0]['van'])
    text = advice(table)
    best = float(re.search(r'WARNING.*anchor_scale=([\d.]+) would cover at least 1\.00 of each class', text)[1])
    assert table[best] == {'cat': 1., 'dog': 1., 'van': pytest.approx(math.nan, nan_ok=True)}
    assert 'cat 0.00' in text and 'dog 1.00' in text and 'anchor_scale 4.0:' in text
    again = advice(anchor_coverage(tiny_and_big, config_for(anchor_scale=best)))
    assert 'WARNING' not in again and 'leave anchor_scale as it is' in again


def test_shares_against_a_plain_loop(tmp_path):
    rng = np.random.default_rng(0)
    boxes = [drawn.box(*(float(v) for v in (*rng.uniform(0, 150, 2), *rng.uniform(8, 90, 2))), (1, 18, 400)[i % 3])
             for i in range(24)]
    folder = drawn.records(tmp_path, [(256, 256, boxes[:12]), (256, 256, boxes[12:])])        # the network sees half of it
    table = anchor_coverage(folder, config_for())
    for scale in (4.0, 1.0, 2.5):
        corners = np.array([[y, x, min(256, y + h), min(256, x + w)] for x, y, w, h in (b['bbox'] for b in boxes)]) / 2
        best = loop_iou(corners, anchors(128, scale=scale)).max(1)
        for k, name in enumerate(drawn.LABELS.values()):
            assert table[scale][name] == pytest.approx(np.mean(best[k::3] >= 0.5))
    assert len({tuple(row.values()) for row in table.values()}) > 3


def test_nothing_is_said_when_all_is_covered(tmp_path):
    text = advice(anchor_coverage(drawn.records(tmp_path, [(128, 128, squares(32, 18, 4))]), config_for()))
    assert 'WARNING' not in text and 'leave anchor_scale as it is' in text


def test_crowds_do_not_count(tmp_path):
    folder = drawn.records(tmp_path, [(128, 128, [*squares(32, 18, 4), drawn.box(60, 60, 4, 4, 18, iscrowd=1)])])
    assert anchor_coverage(folder, config_for())[4.0]['dog'] == 1.


def test_where_no_scale_helps_a_larger_picture_is_advised(tmp_path):
    slivers = [drawn.box(10, 6 + 12 * i, 110, 3, 1) for i in range(5)]
    text = advice(anchor_coverage(drawn.records(tmp_path, [(128, 128, slivers)]), config_for()))
    assert 'WARNING' in text and 'larger image_size' in text and 'would cover' not in text


def test_one_scale_per_level(tiny_and_big):
    table = anchor_coverage(tiny_and_big, config_for(anchor_scale=[1.5, 1.5, 2.0, 4.0, 4.0]))
    assert next(iter(table)) == (1.5, 1.5, 2.0, 4.0, 4.0) and next(iter(table.values()))['cat'] == 1.


def test_no_boxes_at_all(tmp_path):
    table = anchor_coverage(drawn.records(tmp_path, [(128, 128, [])]), config_for())
    assert all(math.isnan(share) for share in table[4.0].values()) and 'WARNING' not in advice(table)
