"""Anchor coverage on drawn boxes whose answer is known."""

import math

import drawn
import numpy as np
import pytest
from planted import check, configured, moved, written
from test_boxes import loop_iou

from keras_efficientdet import anchors, load_config
from keras_efficientdet.doctor import examine
from keras_efficientdet.doctor.anchors import (
    CANDIDATE_SCALES,
    best_overlaps,
    check_anchors,
    coverage,
    learnable_boxes,
)
from keras_efficientdet.doctor.split import split_of_records
from keras_efficientdet.network.heads.anchor import config_anchors
from keras_efficientdet.ops.boxes import iou


def config_for(**change):
    return load_config(
        'efficientdet-lite0',
        [
            {
                'image_size': 128,
                'num_classes': 3,
                'label_map': drawn.LABELS,
                'batch_size': 2,
                'anchor_scale': 4.0,
            },
            change,
        ],
    )


def advice(folder, config):
    """The finding about anchors; each of these data sets has one."""
    (found,) = [
        f
        for f in check_anchors(split_of_records('train', folder), config)
        if f.id == 'anchors.coverage'
    ]
    return found


def coverage_of(folder, config):
    """{anchor_scale: {class name: share of boxes that some anchor covers}}"""
    return coverage(*learnable_boxes(split_of_records('train', folder), config), config)


def squares(side, category, count=5):
    """Squares centred on places of the finest level."""
    return [
        drawn.box(
            4 + 8 * (3 * i + 1) - side / 2, 4 + 8 * (2 * i + 2) - side / 2, side, side, category
        )
        for i in range(count)
    ]


@pytest.fixture
def tiny_and_big(tmp_path):
    """Class 1 has 12-pixel squares, class 18 large ones, class 400 does not occur."""
    return drawn.records(
        tmp_path, [(128, 128, squares(12, 1)), (128, 128, squares(36, 18)), (128, 128, [])]
    )


def test_too_big_anchors_are_flagged_with_the_scale_that_covers(tiny_and_big):
    table = coverage_of(tiny_and_big, config_for())
    assert list(table) == [4.0, *(s for s in CANDIDATE_SCALES if s != 4.0)]
    assert table[4.0]['cat'] == 0.0 and table[4.0]['dog'] == 1.0 and math.isnan(table[4.0]['van'])
    found = advice(tiny_and_big, config_for())
    assert found.severity == 'warning'
    assert found.found.startswith(
        'train: anchors with anchor_scale 4.0 are too large (boxes not covered have a median side '
        'of 12 px, the smallest anchor 32 px) and cover too few boxes'
    )
    assert 'cat 0.00' in found.found
    assert 'dog' not in found.found
    assert found.numbers == {'anchor_scale': 4.0, 'coverage': {'cat': 0.0}}
    best = float(found.fix.partition('anchor_scale=')[2].partition(':')[0])
    assert table[best] == {'cat': 1.0, 'dog': 1.0, 'van': pytest.approx(math.nan, nan_ok=True)}
    assert advice(tiny_and_big, config_for(anchor_scale=best)).severity == 'note'


def test_small_boxes_are_the_only_fault_of_their_data(sources, healthy, tmp_path):
    train = written(
        moved(sources['train'], lambda b, p: np.concatenate([b[:, :2], b[:, :2] + 14], 1)),
        tmp_path / 'train',
    )
    check(
        examine(train, healthy['val'], configured()),
        'anchors.coverage',
        'warning',
        'are too large',
        'set anchor_scale=1',
    )


def test_shares_against_a_plain_loop(tmp_path):
    rng = np.random.default_rng(0)
    boxes = [
        drawn.box(
            *(float(v) for v in (*rng.uniform(0, 150, 2), *rng.uniform(8, 90, 2))),
            (1, 18, 400)[i % 3],
        )
        for i in range(24)
    ]
    folder = drawn.records(
        tmp_path, [(256, 256, boxes[:12]), (256, 256, boxes[12:])]
    )  # the network sees half of it
    table = coverage_of(folder, config_for())
    for scale in (4.0, 1.0, 2.5):
        corners = (
            np.array(
                [
                    [y, x, min(256, y + h), min(256, x + w)]
                    for x, y, w, h in (b['bbox'] for b in boxes)
                ]
            )
            / 2
        )
        best = loop_iou(corners, anchors(128, scale=scale)).max(1)
        for k, name in enumerate(drawn.LABELS.values()):
            assert table[scale][name] == pytest.approx(np.mean(best[k::3] >= 0.5))
    assert len({tuple(row.values()) for row in table.values()}) > 3


@pytest.mark.parametrize(
    'change',
    [{}, {'image_size': [200, 333]}, {'anchor_scale': [1.5, 2.0, 2.5, 4.0, 5.0]}, {'max_level': 8}],
    ids=str,
)
def test_few_anchors_compared_are_as_good_as_all(change):
    """Also for boxes at the edges, beyond the largest anchor, and where strides are fractions."""
    config = config_for(**change)
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 120, (300, 2))
    boxes = np.concatenate([corner, corner + np.exp(rng.uniform(0, 6, (300, 2)))], 1).astype(
        np.float32
    )
    np.testing.assert_allclose(
        best_overlaps(boxes, config), np.max(iou(boxes, config_anchors(config)), 1), atol=1e-5
    )


def test_a_note_when_all_is_covered(tmp_path):
    found = advice(drawn.records(tmp_path, [(128, 128, squares(32, 18, 5))]), config_for())
    assert (
        found.severity == 'note'
        and 'at least 1.00' in found.found
        and found.fix == 'leave anchor_scale as it is'
    )


def test_one_odd_box_of_a_rare_class_is_no_warning(tmp_path):
    odd = [*squares(32, 18), drawn.box(60, 60, 4, 4, 1)]
    folder = drawn.records(tmp_path, [(128, 128, odd), (128, 128, squares(32, 18))])
    assert (
        coverage_of(folder, config_for())[4.0]['cat'] == 0.0
        and advice(folder, config_for()).severity == 'note'
    )


@pytest.mark.parametrize(
    ('change', 'gone'),
    [
        ({}, False),
        ({'jitter_min': 1.0, 'jitter_max': 1.0}, False),
        ({'jitter_min': 6.0, 'jitter_max': 8.0}, True),
        ({'jitter_min': 0.01, 'jitter_max': 0.1}, True),
    ],
    ids=str,
)
def test_jitter_that_leaves_no_boxes(tmp_path, change, gone):
    folder = drawn.records(tmp_path, [(128, 128, squares(24, 18, 5)), (128, 128, [])])
    findings = check_anchors(split_of_records('train', folder), config_for(**change))
    assert any(f.id == 'settings.jitter' and 'removes' in f.found for f in findings) == gone


def test_crowds_do_not_count(tmp_path):
    folder = drawn.records(
        tmp_path, [(128, 128, [*squares(32, 18, 4), drawn.box(60, 60, 4, 4, 18, iscrowd=1)])]
    )
    assert coverage_of(folder, config_for())[4.0]['dog'] == 1.0


def test_where_no_scale_helps_a_larger_image_is_advised(tmp_path):
    slivers = [drawn.box(10, 6 + 12 * i, 110, 3, 1) for i in range(5)]
    found = advice(drawn.records(tmp_path, [(128, 128, slivers)]), config_for())
    assert found.severity == 'warning'
    assert found.fix == 'no other anchor_scale is better; try a larger image_size'


def test_anchors_that_are_too_small(tmp_path):
    folder = drawn.records(tmp_path, [(128, 128, [drawn.box(2, 2, 124, 124, 1)] * 5)])
    found = advice(folder, config_for(max_level=5, anchor_scale=1.0))
    assert 'are too small (boxes not covered have a median side of 124 px' in found.found


def test_one_scale_per_level(tiny_and_big):
    table = coverage_of(tiny_and_big, config_for(anchor_scale=[1.5, 1.5, 2.0, 4.0, 4.0]))
    assert (
        next(iter(table)) == (1.5, 1.5, 2.0, 4.0, 4.0) and next(iter(table.values()))['cat'] == 1.0
    )


def test_no_boxes_at_all(tmp_path):
    folder = drawn.records(tmp_path, [(128, 128, [])])
    assert all(math.isnan(share) for share in coverage_of(folder, config_for())[4.0].values())
    assert check_anchors(split_of_records('train', folder), config_for()) == []
