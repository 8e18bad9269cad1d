"""Learning rates and clipping against official values."""

import keras
import numpy as np
import official
import pytest
import tensorflow as tf

from keras_efficientdet import load_config
from keras_efficientdet.keras_compat import new_variable
from keras_efficientdet.training.optimizers import SGD, Adam, clip_twice, last_rate
from keras_efficientdet.training.schedules import LearningRate, learning_rate

CASES = official.golden('func/lr_schedules.json')


@pytest.mark.parametrize('case', CASES)
def test_official_rates(case):
    params = CASES[case]['params']
    train = load_config(
        'efficientdet-d0', {k: v for k, v in params.items() if k != 'steps_per_epoch'}
    ).train
    rate = learning_rate(train, params['steps_per_epoch'])
    ours = [float(rate(tf.constant(step))) for step in CASES[case]['steps']]
    wanted = np.array(CASES[case]['lr'], float)
    beyond = np.isnan(wanted)  # officially, of a polynomial after its end
    assert not beyond.any() or (
        params['lr_decay_method'] == 'polynomial' and not np.array(ours)[beyond].any()
    )
    np.testing.assert_allclose(np.array(ours)[~beyond], wanted[~beyond], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize('decay', ['cosine', 'stepwise', 'polynomial', 'constant'])
def test_a_training_that_goes_on_beyond_its_schedule_has_a_rate(decay):
    rate = LearningRate(1.0, 0.1, 2, 10, decay, drops=(5, 8))
    assert all(0 <= float(rate(step)) <= 1 for step in range(9, 14))


def test_rate_is_scaled_with_the_batch():
    train = load_config('efficientdet-d0', {'batch_size': 8}).train
    assert float(learning_rate(train, 100)(100)) == pytest.approx(0.01, rel=1e-3)


def test_clipping_is_per_gradient_then_global():
    gradients = [tf.constant([30.0, 40.0]), None, tf.constant([6.0, 8.0]), tf.constant([3.0])]
    first, none, second, third = clip_twice(gradients, 10.0)
    each = [np.array([6.0, 8.0]), np.array([6.0, 8.0]), np.array([3.0])]
    factor = 10 / np.sqrt(sum(np.sum(g**2) for g in each))
    assert none is None
    for ours, wanted in zip((first, second, third), each, strict=True):
        np.testing.assert_allclose(ours, wanted * factor, rtol=1e-6)


@pytest.mark.parametrize('kind', [SGD, Adam])
def test_optimizers_survive_serialisation(kind):
    rate = LearningRate(1.0, 1.0, 0, 10, 'constant')
    first = keras.optimizers.deserialize(keras.optimizers.serialize(kind(rate, clip=10.0)))
    assert isinstance(first, kind)
    assert first.clip == 10.0


def stepped(rule, *gradients):
    """The values of a variable after each step from zero."""
    variable, values = new_variable([0.0, 0.0]), []
    rule.build([variable])
    for gradient in gradients:
        rule.apply_gradients([(tf.constant(gradient), variable)])
        values.append(np.array(variable))
    return np.array(values)


def adam(*gradients, rate=0.1, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """Adam written out."""
    mean = square = value = np.zeros(2)
    values = []
    for step, gradient in enumerate(np.array(gradients), 1):
        mean = beta_1 * mean + (1.0 - beta_1) * gradient
        square = beta_2 * square + (1.0 - beta_2) * gradient**2
        unbiased = rate * np.sqrt(1.0 - beta_2**step) / (1.0 - beta_1**step)
        value = value - unbiased * mean / (np.sqrt(square) + epsilon)
        values.append(value)
    return np.array(values)


LONG, SHORT = [300.0, 400.0], [3.0, -4.0]  # norms 500, which is clipped to 10, and 5


def test_sgd_steps_with_clipped_gradients():
    found = stepped(SGD(1.0, clip=10.0), LONG, SHORT)
    np.testing.assert_allclose(found, [[-6.0, -8.0], [-9.0, -4.0]], rtol=1e-6)


def test_adam_steps_with_clipped_gradients():
    """The first step of Adam is the same for any length of a gradient; the second one is not."""
    clipped = adam([6.0, 8.0], SHORT)
    assert np.max(np.abs(clipped[1] / adam(LONG, SHORT)[1] - 1.0)) > 0.1
    np.testing.assert_allclose(stepped(Adam(0.1, clip=10.0), LONG, SHORT), clipped, rtol=1e-5)


@pytest.mark.parametrize('kind', [SGD, Adam])
def test_no_clip_is_no_clipping(kind):
    plain = getattr(keras.optimizers, kind.__name__)
    found = stepped(kind(0.1, clip=0.0), LONG, SHORT)
    np.testing.assert_array_equal(found, stepped(plain(0.1), LONG, SHORT))


def test_unknown_names():
    with pytest.raises(ValueError, match='expected one of cosine'):
        LearningRate(1.0, 1.0, 1, 1, 'exponential')
    with pytest.raises(ValueError, match='one of sgd, adam'):
        load_config('efficientdet-d0', {'optimizer': 'lion'})


@pytest.mark.parametrize(
    ('rate', 'wanted'),
    [
        (0.25, [0.25] * 3),
        (keras.optimizers.schedules.PolynomialDecay(1.0, 4, 0.0), [1.0, 0.75, 0.5]),
    ],
    ids=['constant', 'schedule'],
)
def test_last_rate_of_any_keras_optimizer(rate, wanted):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(rate), 'mse', jit_compile=False)
    seen = []
    for _ in wanted:
        model.train_on_batch(np.ones((2, 4), np.float32), np.ones((2, 1), np.float32))
        seen.append(last_rate(model.optimizer))
    assert seen == pytest.approx(wanted)
