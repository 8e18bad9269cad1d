"""The head of key points: targets and losses by hand, and detections that invert the targets."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from little import TINY

from keras_efficientdet import efficientdet, load_config
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.network.losses import PointLoss


def config(**settings):
    points = {'head': 'points', 'num_classes': 3, 'points_per_cell': 2, 'max_output_size': 10}
    return load_config('efficientdet-lite0', [TINY, points, settings])


def as_boxes(points):
    return np.float32([[y, x, y, x] for y, x in points])


def encoded(settings, points, classes):
    targets, count = head_of(settings).targets(settings)(as_boxes(points), np.int32(classes))
    return {name: value.numpy() for name, value in targets.items()}, float(count)


def test_targets_by_hand():
    """Cells of 16 pixels, 8 x 8 of them, with two places each."""
    found, count = encoded(config(), [(20, 40), (24, 44), (127.5, 0)], [2, 0, 1])
    assert found['classes'].shape == (128,) and found['points'].shape == (128, 3)
    first, last = 2 * (1 * 8 + 2), 2 * 7 * 8
    assert found['classes'][[first, first + 1, last]].tolist() == [2, 0, 1]
    assert np.sum(found['classes'] >= 0) == count == 3
    np.testing.assert_allclose(found['points'][first], [4 / 16, 8 / 16, 1])
    np.testing.assert_allclose(found['points'][first + 1], [8 / 16, 12 / 16, 1])
    np.testing.assert_allclose(found['points'][last], [15.5 / 16, 0, 1])


def test_what_does_not_fit_into_its_cell_is_left_out():
    found, count = encoded(config(), [(1, 1), (2, 2), (3, 3)], [0, 1, 2])
    assert found['classes'][:2].tolist() == [0, 1] and count == 2


def test_with_a_place_for_each_class_a_point_has_that_of_its_class():
    found, count = encoded(config(points_per_cell=3), [(1, 1), (2, 2)], [2, 0])
    assert found['classes'][:3].tolist() == [0, -1, 2] and count == 2


def test_one_cell_can_be_the_whole_image():
    settings = config(point_cells='image', points_per_cell=3)
    found, _ = encoded(settings, [(64, 32), (128, 128)], [1, 0])
    assert found['classes'].tolist() == [0, 1, -1]
    np.testing.assert_allclose(found['points'][:2], [[1, 1, 1], [0.5, 0.25, 1]])
    outputs = efficientdet(settings).output
    shapes = {name: tuple(output.shape) for name, output in outputs.items()}
    assert shapes == {'classes': (None, 3, 3), 'points': (None, 3, 2)}


def test_an_object_with_a_size_is_the_point_in_its_middle():
    settings = config()
    boxes = np.float32([[10, 20, 30, 60]])
    of_box, _ = head_of(settings).targets(settings)(boxes, np.int32([1]))
    of_point, _ = encoded(settings, [(20, 40)], [1])
    for name, value in of_point.items():
        np.testing.assert_array_equal(of_box[name], value)


@pytest.mark.parametrize('cells', ['level', 'image'])
def test_detections_of_perfect_outputs_are_the_points(cells):
    settings = config(image_size=[96, 128], points_per_cell=3, point_cells=cells)
    points, classes = [(5.25, 100.5), (70.0, 3.0), (95.5, 127.5)], [2, 0, 1]
    found, _ = encoded(settings, points, classes)
    inside = np.clip(found['points'][:, :2], 1e-6, 1 - 1e-6)
    logits = np.where(np.eye(4)[found['classes']][:, :3] > 0, 9.0, -9.0)
    outputs = {
        'classes': tf.constant(logits[None], tf.float32),
        'points': tf.constant(np.log(inside / (1 - inside))[None], tf.float32),
    }
    detections = head_of(settings).detect(outputs, settings)
    boxes, scores, kinds, count = (value.numpy()[0] for value in detections)
    good = scores > 0.5
    assert count >= 3 and good.sum() == 3
    order = np.argsort(kinds[good])
    wanted = as_boxes(points)[np.argsort(classes)]
    np.testing.assert_allclose(boxes[good][order], wanted, atol=0.01)


def test_the_loss_of_places_by_hand():
    truth = np.float32([[[0.25, 1.0, 1], [0.5, 0.5, 0]]])
    logits = np.float32([[[0.0, np.log(3.0)], [7.0, 7.0]]])  # 0.5 and 0.75
    cross_entropy = PointLoss('bce', reduction='none')(truth, logits)
    np.testing.assert_allclose(cross_entropy, [np.log(2) - np.log(0.75)], rtol=1e-6)
    distance = PointLoss('l1', reduction='none')(truth, logits)
    np.testing.assert_allclose(distance, [0.25 + 0.25], rtol=1e-6)


@pytest.mark.parametrize('cells', ['level', 'image'])
def test_untrained_it_expects_nothing_anywhere(cells):
    model = efficientdet(config(point_cells=cells))
    outputs = model(np.zeros((1, 128, 128, 3), np.float32))
    scores = tf.sigmoid(outputs['classes']).numpy()
    assert scores.mean() == pytest.approx(0.01, abs=0.01)


def test_a_loaded_model_is_the_saved_one(tmp_path):
    model = efficientdet(config())
    model.save(tmp_path / 'model.keras')
    loaded = keras.models.load_model(tmp_path / 'model.keras')
    x = np.random.default_rng(0).normal(size=(1, 128, 128, 3)).astype(np.float32)
    for name, value in model(x).items():
        np.testing.assert_array_equal(loaded(x)[name], value)
