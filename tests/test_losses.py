"""Losses and gradients against official values, and in closed form."""

import numpy as np
import official
import pytest
import tensorflow as tf

from keras_efficientdet.network.losses import BoxLoss, FocalLoss


def value_and_gradient(loss, truth, prediction):
    with tf.GradientTape() as tape:
        prediction = tf.constant(prediction)
        tape.watch(prediction)
        value = loss.call(tf.constant(truth), prediction)
        total = tf.reduce_sum(value)
    return value.numpy(), tape.gradient(total, prediction).numpy()


@pytest.mark.parametrize('case', ['default', 'ls01', 'g2_a5_big'])
def test_official_focal_loss(case):
    settings, arrays = (
        official.index('func/focal_loss.npz')['cases'][case],
        official.golden('func/focal_loss.npz'),
    )
    k, labels = settings['num_classes'], arrays[f'{case}/labels'].reshape(2, -1)
    logits = arrays[f'{case}/logits'].reshape(2, -1, k)
    loss = FocalLoss(settings['alpha'], settings['gamma'], settings['label_smoothing'])
    labels = np.where(labels == -2, -1, labels)  # this golden was made before the mask of -2
    value, gradient = value_and_gradient(loss, labels, logits)
    assert np.sum(value) / settings['normalizer'] == pytest.approx(
        float(arrays[f'{case}/sum']), rel=1e-5
    )
    np.testing.assert_allclose(
        gradient.reshape(arrays[f'{case}/grad'].shape) / settings['normalizer'],
        arrays[f'{case}/grad'],
        rtol=2e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize('case', ['d01', 'd1'])
def test_official_box_loss(case):
    settings, arrays = (
        official.index('func/box_loss.npz')['cases'][case],
        official.golden('func/box_loss.npz'),
    )
    value, gradient = value_and_gradient(
        BoxLoss(settings['delta']),
        arrays[f'{case}/targets'].reshape(2, -1, 4),
        arrays[f'{case}/outputs'].reshape(2, -1, 4),
    )
    assert np.sum(value) / settings['num_positives'] == pytest.approx(
        float(arrays[f'{case}/loss']), rel=1e-5
    )
    np.testing.assert_allclose(
        gradient.reshape(arrays[f'{case}/grad'].shape) / settings['num_positives'],
        arrays[f'{case}/grad'],
        rtol=1e-5,
        atol=1e-6,
    )


def test_official_detection_loss_with_an_ignored_anchor():
    entry, arrays = (
        official.index('func/detection_loss_default.npz'),
        official.golden('func/detection_loss_default.npz'),
    )

    def levels(name, width):
        return np.concatenate(
            [arrays[f'{name}_{level}'].reshape(2, -1, width) for level in range(3, 8)], 1
        )

    ids = levels('cls_targets', 1)[..., 0]
    assert (ids == -2).sum() == 1
    normalizer = 1 + sum(entry['num_positives'])
    assert np.sum(ids != -1) == sum(entry['num_positives'])
    classes, class_gradient = value_and_gradient(FocalLoss(), ids, levels('cls_out', 4))
    boxes, box_gradient = value_and_gradient(
        BoxLoss(), levels('box_targets', 4), levels('box_out', 4)
    )
    assert np.sum(classes) / normalizer == pytest.approx(entry['values']['cls_loss'], rel=1e-5)
    assert np.sum(boxes) / normalizer == pytest.approx(entry['values']['box_loss'], rel=1e-5)
    norm = np.sqrt(
        np.sum((class_gradient / normalizer) ** 2) + np.sum((50 * box_gradient / normalizer) ** 2)
    )
    assert norm == pytest.approx(entry['grad_global_norm'], rel=1e-5)


def test_focal_loss_in_closed_form():
    logits = np.array([[[0.5, -1.0], [2.0, 0.0]]], np.float32)
    p = 1 / (1 + np.exp(-logits[0]))
    wanted = (
        0.25 * (1 - p[0, 0]) ** 1.5 * -np.log(p[0, 0])
        + 0.75 * p[0, 1] ** 1.5 * -np.log(1 - p[0, 1])
        + np.sum(0.75 * p[1] ** 1.5 * -np.log(1 - p[1]))
    )
    value, _ = value_and_gradient(FocalLoss(), np.array([[0, -1]]), logits)
    assert value[0] == pytest.approx(wanted, rel=1e-5)


def test_images_without_objects_have_class_loss_and_no_box_loss():
    classes, gradient = value_and_gradient(
        FocalLoss(), np.full((1, 5), -1), np.zeros((1, 5, 3), np.float32)
    )
    assert classes[0] > 0 and np.all(np.isfinite(gradient)) and np.all(gradient > 0)
    boxes, gradient = value_and_gradient(
        BoxLoss(), np.zeros((1, 5, 4), np.float32), np.ones((1, 5, 4), np.float32)
    )
    assert boxes[0] == 0 and np.all(gradient == 0)


def test_extreme_logits_stay_finite():
    logits = np.array([[[1e4, -1e4], [-1e4, 1e4]]], np.float32)
    value, gradient = value_and_gradient(FocalLoss(), np.array([[1, 1]]), logits)
    assert np.all(np.isfinite(value)) and np.all(np.isfinite(gradient))


@pytest.mark.parametrize('loss', [FocalLoss(0.3, 2.0, 0.1), BoxLoss(0.5)])
def test_config_round_trip(loss):
    again = type(loss).from_config(loss.get_config())
    assert again.get_config() == loss.get_config()
