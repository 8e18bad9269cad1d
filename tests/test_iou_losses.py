"""IoU losses against official values and gradients, alone and in the whole detection loss."""

import keras
import numpy as np
import official
import pytest
import tensorflow as tf
from little import TINY
from test_losses import value_and_gradient

from keras_efficientdet import anchors, compile_for_training, efficientdet, load_config
from keras_efficientdet.network.heads import anchor as anchor_head
from keras_efficientdet.network.iou_losses import IOU_TYPES, BoxAndIouLoss, iou_loss
from keras_efficientdet.network.losses import BoxLoss, FocalLoss
from keras_efficientdet.ops.anchors import encode

GOLDEN = 'func/iou_loss.npz'
SMALL = {'image_size': 64, 'levels': (3, 7), 'scales': 3, 'ratios': (1.0, 2.0, 0.5), 'scale': 4.0}


def gradient_of(function, at):
    with tf.GradientTape() as tape:
        at = tf.constant(at)
        tape.watch(at)
        value = function(at)
    return value.numpy(), tape.gradient(value, at).numpy()


@pytest.mark.parametrize('iou_type', IOU_TYPES)
def test_official_values_and_gradients(iou_type, golden):
    arrays = golden(GOLDEN)
    value, gradient = gradient_of(lambda p: iou_loss(p, arrays['target'], iou_type), arrays['pred'])
    np.testing.assert_allclose(value, arrays[f'{iou_type}/loss'], atol=1e-5)
    np.testing.assert_allclose(gradient, arrays[f'{iou_type}/grad'], atol=1e-5)
    pairs = [
        arrays[f'pair/{name}'].reshape(-1, 2, 4) for name in ('pred', 'target')
    ]  # two boxes in a row, summed
    np.testing.assert_allclose(
        tf.reduce_sum(iou_loss(*pairs, iou_type), 1), arrays[f'pair/{iou_type}'], atol=1e-5
    )


def only_iou(iou_type, settings, weight=1.0):
    return BoxAndIouLoss(settings, iou_type, box_weight=0.0, iou_weight=weight)


@pytest.mark.parametrize('iou_type', IOU_TYPES)
def test_official_layer(iou_type, golden):
    arrays, c = golden(GOLDEN), official.index(GOLDEN)['layer_config']
    settings = {
        'image_size': c['image_size'],
        'levels': (c['min_level'], c['max_level']),
        'scales': c['num_scales'],
        'ratios': c['aspect_ratios'],
        'scale': c['anchor_scale'],
    }
    truth, prediction = (
        arrays[f'layer/{name}'].reshape(2, -1, 4) for name in ('targets', 'outputs')
    )
    value, gradient = value_and_gradient(only_iou(iou_type, settings), truth, prediction)
    assert np.sum(value) / 6 == pytest.approx(float(arrays[f'layer/{iou_type}/loss']), rel=1e-5)
    np.testing.assert_allclose(
        gradient.reshape(-1, 4) / 6, arrays[f'layer/{iou_type}/grad'], atol=1e-5
    )


def as_official(arrays, name):
    """[2, A, 4] in the official order: level by level over the whole batch.

    It is cut where the official code assumes that the second image begins. Its anchors are tiled
    image by image, so they meet boxes of other anchors.
    """
    return np.concatenate(
        [arrays[f'{name}_{level}'].reshape(-1, 4) for level in range(3, 8)]
    ).reshape(2, -1, 4)


def by_image(arrays, name, width):
    return np.concatenate(
        [arrays[f'{name}_{level}'].reshape(2, -1, width) for level in range(3, 8)], 1
    )


@pytest.mark.parametrize('case', ['giou_only', 'ls_ciou'])
def test_official_detection_loss(case, golden):
    name = f'func/detection_loss_{case}.npz'
    arrays, entry = golden(name), official.index(name)
    weights, normalizer = entry['overrides'], 1 + sum(entry['num_positives'])
    iou = only_iou(weights['iou_loss_type'], SMALL, weights.get('iou_loss_weight', 1.0))
    value, gradient = value_and_gradient(
        iou, as_official(arrays, 'box_targets'), as_official(arrays, 'box_out')
    )
    focal = FocalLoss(label_smoothing=weights.get('label_smoothing', 0.0))
    ids = by_image(arrays, 'cls_targets', 1)[..., 0]
    classes, class_gradient = value_and_gradient(focal, ids, by_image(arrays, 'cls_out', 4))
    boxes, box_gradient = value_and_gradient(
        BoxLoss(), as_official(arrays, 'box_targets'), as_official(arrays, 'box_out')
    )
    wanted, box_weight = entry['values'], weights.get('box_loss_weight', 50.0)
    assert np.sum(value) / normalizer == pytest.approx(
        wanted['box_iou_loss'] * iou.settings['iou_weight'], rel=1e-5
    )
    assert np.sum(classes) / normalizer == pytest.approx(wanted['cls_loss'], rel=1e-5)
    if box_weight:
        assert np.sum(boxes) / normalizer == pytest.approx(wanted['box_loss'], rel=1e-5)
    total = np.sum(classes) + box_weight * np.sum(boxes) + np.sum(value)
    assert total / normalizer == pytest.approx(wanted['det_loss'], rel=1e-5)
    norm = (
        np.sqrt(np.sum(class_gradient**2) + np.sum((gradient + box_weight * box_gradient) ** 2))
        / normalizer
    )
    assert norm == pytest.approx(entry['grad_global_norm'], rel=1e-5)
    aligned, _ = value_and_gradient(
        iou, by_image(arrays, 'box_targets', 4), by_image(arrays, 'box_out', 4)
    )
    assert np.sum(aligned) == pytest.approx(np.sum(value), rel=1e-6), (
        'another anchor moves and stretches both boxes alike'
    )


@pytest.mark.parametrize('iou_type', IOU_TYPES)
def test_properties(iou_type):
    rng = np.random.default_rng(0)
    a, b = (
        np.concatenate([c, c + rng.uniform(1, 30, (50, 2))], 1).astype(np.float32)
        for c in rng.uniform(0, 40, (2, 50, 2))
    )
    np.testing.assert_allclose(iou_loss(a, a, iou_type), 0.0, atol=1e-5)
    np.testing.assert_allclose(
        iou_loss(a * 3 + 7, b * 3 + 7, iou_type), iou_loss(a, b, iou_type), atol=1e-4
    )
    assert np.all(iou_loss(a, b, iou_type) >= iou_loss(a, b, 'iou') - 1e-6)
    far = iou_loss(a, a + 100, iou_type).numpy()
    assert np.all(far == 1) if iou_type == 'iou' else np.all(far > 1)


@pytest.mark.parametrize('iou_type', IOU_TYPES)
def test_gradients_are_finite_where_boxes_degenerate(iou_type):
    boxes = np.array(
        [[5, 5, 5, 5], [9, 9, 2, 2], [0, 0, 0, 4], [0, 0, 4, 0], [0, 0, 4, 4], [0, 0, 0, 0]],
        np.float32,
    )
    pairs = [np.repeat(boxes, 6, 0), np.tile(boxes, (6, 1))]
    value, gradient = gradient_of(lambda p: iou_loss(p, pairs[1], iou_type), pairs[0])
    assert np.all(np.isfinite(value)) and np.all(np.isfinite(gradient))
    codes = np.full((1, len(anchors(**SMALL)), 4), 1e4, np.float32)  # exp of it is infinite
    value, gradient = value_and_gradient(only_iou(iou_type, SMALL), codes * 0, codes)
    assert value == 0 and np.all(gradient == 0)


def test_every_image_of_a_batch_meets_its_own_anchors():
    """ciou depends on the shape of the anchor; a loss that shifted them by one would be noticed."""
    boxes = anchors(**SMALL)
    truth = encode(boxes + np.float32([[1, 2, 3, 5]]), boxes).numpy()[None]
    guess = truth + np.random.default_rng(1).normal(0, 0.1, truth.shape).astype(np.float32)
    loss = BoxAndIouLoss(SMALL, 'ciou', box_weight=0.0)
    alone = loss.call(truth, guess).numpy()
    batch = [np.concatenate([np.zeros_like(truth), truth, truth]), np.concatenate([guess] * 3)]
    np.testing.assert_allclose(loss.call(*batch), [0.0, *alone, *alone], rtol=1e-5)
    shifted = loss.call(np.roll(truth, 1, 1), np.roll(guess, 1, 1)).numpy()
    assert abs(shifted[0] / alone[0] - 1) > 1e-3


def test_the_configuration_switches_it_on():
    config = load_config(
        'efficientdet-lite0', {'image_size': 64, 'iou_loss_type': 'diou', 'box_loss_weight': 3}
    )
    losses, weights = anchor_head.losses(config)
    assert weights == {'classes': 1.0, 'boxes': 1.0} and losses['boxes'].settings['box_weight'] == 3
    boxes = anchor_head.config_anchors(config)
    truth = encode(boxes + 1, boxes).numpy()[None]
    guess = truth + 0.1
    assert float(losses['boxes'].call(truth, guess)[0]) == pytest.approx(
        3 * float(BoxLoss().call(truth, guess)[0])
        + float(losses['boxes'].iou_part(truth, guess)[0]),
        rel=1e-6,
    )
    plain = anchor_head.losses(load_config(config, {'iou_loss_type': None}))
    assert isinstance(plain[0]['boxes'], BoxLoss) and plain[1]['boxes'] == 3


def test_fit_reports_it_and_keras_files_keep_it(tmp_path):
    changes = {'image_size': 64, 'num_classes': 3, 'iou_loss_type': 'ciou', 'weight_decay': 0.0}
    config = load_config('efficientdet-lite0', {**TINY, **changes})
    model = efficientdet(config)
    compile_for_training(model, config, 10)
    boxes = np.float32([[8, 8, 40, 40]])
    truth, positives = anchor_head.targets(config)(boxes, np.int32([1]))
    truth = {k: v[None] for k, v in truth.items()}
    weight = np.float32([1 / (1 + positives)])
    logs = model.fit(
        official.make_input(1, 64, 64, 0),
        truth,
        sample_weight=dict.fromkeys(truth, weight),
        verbose=0,
    ).history
    assert logs['loss'][0] == pytest.approx(
        logs['classes_loss'][0] + logs['boxes_loss'][0], rel=1e-5
    )
    assert logs['boxes_loss'][0] > 0
    model.save(tmp_path / 'model.keras')
    again = keras.models.load_model(tmp_path / 'model.keras')
    logs = [
        m.evaluate(
            official.make_input(1, 64, 64, 0),
            truth,
            sample_weight=dict.fromkeys(truth, weight),
            verbose=0,
            return_dict=True,
        )
        for m in (model, again)
    ]
    assert logs[0] == pytest.approx(logs[1], rel=1e-5)


def test_config_round_trip_and_unknown_type():
    loss = BoxAndIouLoss(SMALL, 'ciou', iou_weight=2.0)
    again = BoxAndIouLoss.from_config(loss.get_config())
    assert again.get_config() == loss.get_config()
    with pytest.raises(ValueError, match=r'xiou.*iou, giou, diou, ciou'):
        iou_loss(np.zeros((1, 4), np.float32), np.zeros((1, 4), np.float32), 'xiou')
    with pytest.raises(ValueError, match='xiou'):
        anchor_head.losses(load_config('efficientdet-d0', 'iou_loss_type=xiou'))
