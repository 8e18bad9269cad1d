"""Targets against official ones, and the properties that training relies on."""

import numpy as np
import official
import pytest
from test_anchors import of_config

from keras_efficientdet import anchors
from keras_efficientdet.ops.anchors import decode
from keras_efficientdet.ops.matching import match

CASES = list(official.index('func/label_anchors.npz')['cases'])


def flat(arrays, case, config):
    """Official per-level targets as [A] and [A, 4]."""
    levels = range(config['min_level'], config['max_level'] + 1)
    ids = np.concatenate([arrays[f'{case}/cls_targets_{level}'].reshape(-1) for level in levels])
    return ids, np.concatenate(
        [arrays[f'{case}/box_targets_{level}'].reshape(-1, 4) for level in levels]
    )


@pytest.mark.parametrize('case', CASES)
def test_official_targets(case):
    entry, arrays = (
        official.index('func/label_anchors.npz')['cases'][case],
        official.golden('func/label_anchors.npz'),
    )
    labels = arrays[f'{case}/gt_labels'].reshape(-1)
    ids, codes = match(
        arrays[f'{case}/gt_boxes'], labels.astype(np.int32) - 1, of_config(entry['config'])
    )
    official_ids, official_codes = flat(arrays, case, entry['config'])
    np.testing.assert_array_equal(ids, official_ids)
    np.testing.assert_allclose(codes, official_codes, atol=1e-5)
    np.testing.assert_array_equal(
        codes.numpy() == 0, official_codes == 0, 'the box loss masks by exact zeros'
    )
    assert np.sum(ids.numpy() != -1) == entry['num_positives']


def boxes_of(rng, count):
    corner, side = rng.uniform(0, 90, (count, 2)), rng.uniform(4, 60, (count, 2))
    return np.concatenate([corner, corner + side], 1).astype(np.float32)


def test_every_box_gets_an_anchor_however_small():
    anchor_boxes = anchors(128)
    boxes = np.array([[10, 10, 12, 12], [60, 70, 61, 72], [20, 20, 100, 110]], np.float32)
    ids, codes = match(boxes, np.array([0, 1, 2]), anchor_boxes)
    assert set(ids.numpy()) == {-1, 0, 1, 2}
    for k, box in enumerate(boxes):
        rows = ids.numpy() == k
        np.testing.assert_allclose(
            decode(codes, anchor_boxes).numpy()[rows], np.tile(box, (rows.sum(), 1)), atol=1e-2
        )


def test_order_of_boxes_does_not_matter_without_ties():
    rng = np.random.default_rng(3)
    boxes, classes = boxes_of(rng, 12), np.arange(12)
    order = rng.permutation(12)
    first, second = (
        match(boxes, classes, anchors(128)),
        match(boxes[order], classes[order], anchors(128)),
    )
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_no_boxes_is_all_background():
    ids, codes = match(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), anchors(64))
    assert np.all(ids.numpy() == -1) and np.all(codes.numpy() == 0)
