"""Intersection over union, by hand and against Keras' own."""

import keras
import numpy as np
import pytest

from keras_efficientdet import load_config
from keras_efficientdet.evaluation.mask_metrics import MaskCounts, mask_counts

NAMES = ('background', 'cat', 'dog')


def test_by_hand():
    counts = MaskCounts(NAMES)
    counts.add(np.uint8([[0, 0, 1, 1], [0, 1, 255, 2]]), np.uint8([[0, 1, 1, 1], [0, 0, 2, 2]]))
    found = counts.metrics()
    # background: 2 of 4; cat: 2 of 4; dog: 1 of 1, since the ignored pixel does not count
    assert found['IoU'] == {'background': 0.5, 'cat': 0.5, 'dog': 1.0}
    assert found['mIoU'] == pytest.approx(2 / 3)


def test_a_class_that_does_not_occur_does_not_count():
    counts = MaskCounts(NAMES)
    counts.add(np.uint8([[0, 1]]), np.uint8([[0, 1]]))
    found = counts.metrics()
    assert found['mIoU'] == 1.0 and np.isnan(found['IoU']['dog'])
    assert np.isnan(MaskCounts(NAMES).metrics()['mIoU'])


def test_equal_to_keras_over_several_images():
    rng = np.random.default_rng(0)
    counts, metric = MaskCounts(NAMES), keras.metrics.MeanIoU(3)
    for size in ((20, 30), (7, 5)):
        truth, found = rng.integers(0, 3, (2, *size)).astype(np.uint8)
        counts.add(truth, found)
        metric.update_state(truth, found)
    assert counts.metrics()['mIoU'] == pytest.approx(float(metric.result()), abs=1e-6)


def test_batches_are_counted_in_pixels_of_the_image():
    counts = MaskCounts(NAMES)
    annotated = np.full((1, 4, 8, 1), 255, np.uint8)
    annotated[0, :, :6, 0] = np.uint8([0, 0, 1, 1, 2, 2])  # an image of 4 x 6, padded
    found = np.zeros((1, 4, 4), np.uint8)  # of an input of 4 x 4: half the size of the image
    found[0, :2, :3] = [0, 1, 2]
    labels = {'id': [5], 'mask': annotated, 'scale': np.float32([2.0])}
    counts.add_batch(labels, {'mask': found})
    assert counts.metrics()['mIoU'] == 1.0 and counts.table.sum() == 24


def test_the_images_with_the_most_errors_are_kept():
    counts = MaskCounts(NAMES)
    for i in range(10):
        annotated = np.ones((1, 1, 20, 1), np.uint8)
        found = np.uint8(np.arange(20) >= i)[None, None]
        labels = {'id': [i], 'mask': annotated, 'scale': np.float32([1.0])}
        counts.add_batch(labels, {'mask': found})
    assert [row.image_id for row in counts.worst] == [9, 8, 7, 6, 5, 4]
    assert counts.worst[0].right == pytest.approx(11 / 20)


def test_names_are_those_of_the_classes():
    labels = {'model': {'label_map': {3: 'cat', 9: 'dog'}, 'num_classes': 2}}
    config = load_config('efficientdet-lite0', [labels, {'head': 'segmentation'}])
    assert mask_counts(config).names == NAMES
    wider = load_config(config, {'seg_num_classes': 5})
    assert mask_counts(wider).names == (*NAMES, 'class 3', 'class 4')
    assert mask_counts(load_config(config, {'seg_num_classes': 2})).names == NAMES
    assert mask_counts(load_config(config, {'head': 'anchor'})) is None
