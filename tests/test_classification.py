"""The classification head: shares of classes as targets, whole images as detections, its loss."""

import numpy as np
import pytest

from keras_efficientdet import load_config
from keras_efficientdet.network.heads.classification import HEAD
from keras_efficientdet.network.losses import ClassificationLoss

CONFIG = load_config('efficientnet-b0', {'image_size': [64, 96], 'num_classes': 3})


def shares(boxes, classes):
    encoded, positives = HEAD.targets(CONFIG)(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(classes, np.int32)
    )
    return encoded['logits'].numpy(), float(positives)


def test_the_class_of_an_image_has_the_whole_share():
    values, positives = shares([[0, 0, 64, 96]], [2])
    np.testing.assert_array_equal(values, [0, 0, 1])
    assert positives == 1.0


def test_mixed_images_share_by_area():
    values, positives = shares([[0, 0, 10, 10], [10, 0, 20, 20], [0, 20, 10, 30]], [1, 0, 1])
    np.testing.assert_allclose(values, [0.5, 0.5, 0.0])
    assert positives == pytest.approx(1.0)


def test_an_image_without_a_class_counts_nothing():
    values, positives = shares([], [])
    np.testing.assert_array_equal(values, [0, 0, 0])
    assert positives == 0.0
    assert ClassificationLoss(0.1)([values], [[1.0, 2.0, 3.0]]) == 0.0


def test_a_batch_is_divided_by_its_images():
    assert HEAD.divisor(np.float32(8.0)) == 8.0
    assert HEAD.divisor(np.float32(0.0)) == 1.0


def test_the_best_classes_are_boxes_as_large_as_the_input():
    outputs = {'logits': np.log(np.array([[0.2, 0.5, 0.3], [0.7, 0.1, 0.2]], np.float32))}
    config = load_config(CONFIG, {'max_output_size': 2, 'score_thresh': 0.25})
    boxes, scores, classes, count = (value.numpy() for value in HEAD.detect(outputs, config))
    np.testing.assert_array_equal(count, [2, 1])
    np.testing.assert_array_equal(classes, [[1, 2], [0, 0]])
    np.testing.assert_allclose(scores, [[0.5, 0.3], [0.7, 0.0]], rtol=1e-6)
    np.testing.assert_array_equal(boxes[0], [[0, 0, 64, 96]] * 2)
    np.testing.assert_array_equal(boxes[1, 1], [0, 0, 0, 0])


def test_the_loss_is_smoothed_cross_entropy():
    logits = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]], np.float32)
    truth = np.array([[0, 0, 1], [0.25, 0.75, 0]], np.float32)
    log_softmax = logits - np.log(np.sum(np.exp(logits), 1, keepdims=True))
    for smoothing in (0.0, 0.1):
        smooth = truth * (1 - smoothing) + smoothing / 3
        wanted = -np.sum(smooth * log_softmax, 1)
        loss = ClassificationLoss(smoothing, reduction='none')(truth, logits)
        np.testing.assert_allclose(loss, wanted, rtol=1e-5)
