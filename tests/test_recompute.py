"""Recomputed features: the same step, bit for bit or nearly, and the plan of what is kept."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from keras_efficientdet.network.losses import BoxLoss, FocalLoss
from keras_efficientdet.training.recompute import RecomputedLoss, _best_cuts, _calls, _cut, _name


def test_steps_are_the_same_with_statistics_and_masks():
    plain, again = tiny.compiled(), tiny.compiled(recompute=True)
    for tolerance in (
        1e-5,
        1e-4,
    ):  # Keras 2 fuses other operations: 7e-6 after three steps; Keras 3 below 1e-6
        logs = [model.fit(tiny.batches(2).take(1), verbose=0).history for model in (plain, again)]
        assert logs[0]['loss'] == pytest.approx(logs[1]['loss'], rel=tolerance)
        assert tiny.difference(tiny.values(again), tiny.values(plain)) < tolerance
    moved = np.array(again.get_layer('bn').moving_mean)
    assert np.all(moved != 0.0)


@pytest.mark.parametrize('loss, width', [(FocalLoss(0.25, 1.5, 0.1), 3), (BoxLoss(0.1), 4)])
def test_losses_image_by_image_are_the_same_with_gradients(loss, width):
    rng, weights = np.random.default_rng(0), tf.constant([0.5, 2.0])
    truth = (
        rng.integers(-2, 3, (2, 50))
        if width == 3
        else rng.standard_normal((2, 50, 4)).astype(np.float32)
    )
    predictions = tf.constant(rng.standard_normal((2, 50, width)), tf.float32)

    @tf.function
    def value_and_gradient(of):
        with tf.GradientTape() as tape:
            tape.watch(predictions)
            value = of(truth, predictions, sample_weight=weights)
        return value, tape.gradient(value, predictions)

    for found, wanted in zip(
        value_and_gradient(RecomputedLoss(loss)), value_and_gradient(loss), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
        assert np.any(np.asarray(wanted) != 0.0)


def test_losses_keep_nothing_from_image_to_image(monkeypatch):
    """The loop over images pushes targets, predictions and counters for its gradient, but none of
    the loss's own tensors."""

    def pushes():
        @tf.function
        def gradient(predictions):
            with tf.GradientTape() as tape:
                tape.watch(predictions)
                value = RecomputedLoss(FocalLoss())(tf.zeros([2, 50], tf.int32), predictions)
            return tape.gradient(value, predictions)

        graph = gradient.get_concrete_function(tf.zeros([2, 50, 3])).graph.as_graph_def()
        return sum(
            node.op == 'TensorListPushBack'
            for part in graph.library.function
            for node in part.node_def
        )

    kept = pushes()
    monkeypatch.setattr(tf, 'recompute_grad', lambda function: function)
    assert kept < 8 < pushes()


def test_a_compiled_model_is_saved_with_its_losses(tmp_path):
    loss = RecomputedLoss(FocalLoss(0.3, 2.0, 0.1))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.get_config() == loss.get_config() and (again.loss.alpha, again.loss.gamma) == (
        0.3,
        2.0,
    )
    model = tiny.compiled(recompute=True)
    assert {type(part) for part in model.loss.values()} == {RecomputedLoss}
    model.save(tmp_path / 'model.keras')
    assert {
        type(part) for part in keras.models.load_model(tmp_path / 'model.keras').loss.values()
    } == {RecomputedLoss}


def test_inference_is_untouched():
    plain, again = tiny.compiled(), tiny.compiled(recompute=True)
    images = np.ones((1, 16, 16, 3), np.float32)
    for name, value in plain(images).items():
        np.testing.assert_array_equal(again(images)[name], value)


def test_segments_run_in_order_and_hold_every_layer():
    model = tiny.compiled()
    calls = _calls(model)
    assert {call.layer.name for call in calls} == {layer.name for layer in model.layers} - {
        'images'
    }
    known = {_name(model.inputs[0])}
    for call in calls:
        assert set(call.inputs) <= known
        known.add(call.output)
    segments = _cut(calls, {_name(t) for t in model.outputs})
    assert [call for segment in segments for call in segment] == calls and len(segments) > 2


@pytest.mark.parametrize('limit, kept, cuts', [(100, 1, []), (11, 3, [2]), (9, 12, [1, 2])])
def test_cuts_keep_the_least(limit, kept, cuts):
    """A chain of sizes 9 2 8 1: the cheapest cut is behind the 2; the last, an output, is always
    kept."""
    assert _best_cuts([9, 2, 8, 1], [1, 2, 3, 4], limit) == (kept, cuts)
