"""A batch in parts is the whole batch: weights, averages and logs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from keras_efficientdet.errors import ConfigError

TOLERANCE = 1e-5  # of float32 sums in another order, after three steps


@pytest.fixture(scope='module')
def whole():
    model = tiny.compiled(trains=False)
    for i in range(3):
        model.get_layer(f'drop{i}').survival_prob = 1.0  # the parts draw masks of their own
    logs = model.fit(tiny.batches(3), verbose=0).history
    return tiny.values(model), logs


@pytest.mark.parametrize(
    'options', [{'accumulation_steps': 4}, {'accumulation_steps': 2, 'recompute': True}]
)
def test_parts_are_the_whole_batch(whole, options):
    values, logs = whole
    model = tiny.network(tiny.load_config())
    for i in range(3):
        model.get_layer(f'drop{i}').survival_prob = 1.0
    found = tiny.compiled(model, trains=False, **options).fit(tiny.batches(3), verbose=0).history
    assert tiny.difference(tiny.values(model), values) < TOLERANCE
    assert {name: found[name] for name in logs} == {
        name: pytest.approx(value, rel=1e-5) for name, value in logs.items()
    }
    assert set(found) == set(logs) >= {'loss', 'classes_loss', 'boxes_loss'}
    assert int(model.optimizer.iterations) == 3


def test_batches_that_cannot_be_cut_are_refused():
    with pytest.raises(
        ConfigError, match='batch_size 8 cannot be cut into accumulation_steps 3 equal parts'
    ):
        tiny.compiled(accumulation_steps=3)


@pytest.mark.parametrize('parts', [4, 8])
def test_ramped_statistics_are_those_of_all_parts(parts):
    """Each part moves batch norm by its own 0.99; the ramp makes one move of them, of the parts'
    mean by that weight."""
    model = tiny.compiled(accumulation_steps=parts)
    below = keras.Model(model.input, model.get_layer('stem').output)
    mean, variance = np.zeros(8), np.ones(8)
    share = 0.99 ** np.arange(parts - 1, -1, -1)[:, None]
    for step, batch in enumerate(tiny.batches(6)):
        cut = np.asarray(below(batch[0])).reshape(parts, -1, 8)
        model.fit(tf.data.Dataset.from_tensors(batch), verbose=0)
        momentum = min(0.99**parts, (1 + step) / (10 + step))
        mean = momentum * mean + (1 - momentum) * (share * cut.mean(1)).sum(0) / share.sum()
        variance = (
            momentum * variance + (1 - momentum) * (share * cut.var(1, ddof=1)).sum(0) / share.sum()
        )
    layer = model.get_layer('bn')
    np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-3)
