"""The custom layers: numbers, gradients, serialisation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_efficientdet.network.blocks import ACTIVATIONS, activation
from keras_efficientdet.network.detection_model import DetectionModel
from keras_efficientdet.network.layers import (
    BatchNorm,
    EdgeWeights,
    Fuse,
    StochasticDepth,
    random_step,
)
from keras_efficientdet.network.resizing import NearestResize, UpSampling2D


def test_batch_norm_moves_like_the_fused_kernel():
    x = np.random.default_rng(0).standard_normal((4, 3, 2, 5)).astype(np.float32) * 2 + 1
    layer = BatchNorm(momentum=0.99, epsilon=1e-3)
    y = layer(x, training=True).numpy()
    flat = x.reshape(-1, 5).astype(np.float64)
    np.testing.assert_allclose(
        y.reshape(-1, 5), (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-3), atol=1e-4
    )
    np.testing.assert_allclose(layer.moving_mean, 0.01 * flat.mean(0), rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance, 0.99 + 0.01 * flat.var(0, ddof=1), rtol=1e-5)


def test_batch_norm_at_inference_and_frozen_uses_and_keeps_its_statistics():
    x = np.random.default_rng(0).standard_normal((4, 3, 2, 5)).astype(np.float32)
    layer = BatchNorm(epsilon=1e-3)
    layer(x, training=True)
    statistics = [np.array(w) for w in layer.weights]
    mean, variance = np.array(layer.moving_mean), np.array(layer.moving_variance)
    expected = (x - mean) / np.sqrt(variance + 1e-3)
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)
    layer.trainable = False
    np.testing.assert_allclose(layer(x, training=True), expected, atol=1e-5)
    assert all(
        np.array_equal(a, np.array(b)) for a, b in zip(statistics, layer.weights, strict=True)
    )


@pytest.mark.parametrize('dtype', ['mixed_float16', 'mixed_bfloat16'])
def test_batch_norm_keeps_statistics_in_float32(dtype):
    layer = BatchNorm(epsilon=1e-3, dtype=dtype)
    x = np.random.default_rng(0).standard_normal((8, 4, 4, 3)).astype(np.float32)
    y = layer(tf.cast(x, dtype.removeprefix('mixed_')), training=True)
    assert y.dtype == dtype.removeprefix('mixed_')
    assert all('float32' in str(w.dtype) for w in layer.weights)
    np.testing.assert_allclose(
        layer.moving_variance, 0.99 + 0.01 * x.reshape(-1, 3).var(0, ddof=1), rtol=1e-3
    )


FUSED = {
    'fastattn': lambda a, b, w: (
        (a * max(w[0], 0) + b * max(w[1], 0)) / (max(w[0], 0) + max(w[1], 0) + 1e-4)
    ),
    'attn': lambda a, b, w: (a * np.exp(w[0]) + b * np.exp(w[1])) / (np.exp(w[0]) + np.exp(w[1])),
}


@pytest.mark.parametrize('method', FUSED)
@pytest.mark.parametrize('weights', [(0.5, 2.0), (-0.75, 1.0)])
def test_fusion_in_closed_form(method, weights):
    a, b = np.random.default_rng(0).standard_normal((2, 1, 3, 3, 2)).astype(np.float32)
    ours = Fuse(method)([a, b, np.array(weights, np.float32)])
    np.testing.assert_allclose(ours, FUSED[method](a, b, weights), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('method', ['channel_fastattn', 'channel_attn'])
def test_fusion_per_channel_is_fusion_of_each_channel(method):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 1, 3, 3, 4)).astype(np.float32)
    weights = rng.uniform(0.1, 1, (2, 4)).astype(np.float32)
    ours = Fuse(method)([a, b, weights]).numpy()
    for c in range(4):
        np.testing.assert_allclose(
            ours[..., c],
            FUSED[method.removeprefix('channel_')](a[..., c], b[..., c], weights[:, c]),
            rtol=1e-5,
            atol=1e-6,
        )


def test_edge_weights_are_one_trainable_vector():
    layer = EdgeWeights(3, name='node')
    np.testing.assert_array_equal(layer(np.zeros((2, 4, 4, 8), np.float32)), [1, 1, 1])
    assert len(layer.trainable_weights) == 1
    assert tuple(EdgeWeights(2, 8)(np.zeros((2, 4, 4, 8), np.float32)).shape) == (2, 8)


@pytest.mark.parametrize('size', [(5, 7), (19, 10), (3, 4)])
def test_nearest_resize_takes_floor_of_target_times_ratio(size):
    x = np.arange(3 * 4, dtype=np.float32).reshape(1, 3, 4, 1)
    rows, columns = np.arange(size[0]) * 3 // size[0], np.arange(size[1]) * 4 // size[1]
    np.testing.assert_array_equal(
        NearestResize(size)(x)[0, :, :, 0], x[0, :, :, 0][rows][:, columns]
    )


@pytest.mark.parametrize('layer', [NearestResize((5, 7)), NearestResize((19, 10)), UpSampling2D()])
def test_nearest_gradient_goes_to_where_the_value_came_from(layer):
    x, rng = (
        tf.constant(np.arange(12, dtype=np.float32).reshape(1, 3, 4, 1)),
        np.random.default_rng(0),
    )
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
        upstream = rng.standard_normal(y.shape).astype(np.float32)
        total = tf.reduce_sum(y * upstream)
    np.testing.assert_array_equal(y, layer(x))
    wanted = [upstream[y == value].sum() for value in range(12)]
    np.testing.assert_allclose(np.ravel(tape.gradient(total, x)), wanted, rtol=1e-5, atol=1e-6)


def test_a_model_of_custom_layers_is_saved_and_loaded_safely(tmp_path):
    inputs = keras.Input((4, 4, 2))
    x = BatchNorm()(NearestResize((6, 5))(inputs))
    x = StochasticDepth(0.8)(Fuse('attn')([x, x, EdgeWeights(2)(x)]))
    model = keras.Model(
        inputs, [activation(kind, kind)(x) for kind in ('hswish', 'mish', 'srelu', 'swish')]
    )
    model.save(tmp_path / 'm.keras')
    images = np.random.default_rng(0).standard_normal((2, 4, 4, 2)).astype(np.float32)
    for a, b in zip(
        model(images), keras.models.load_model(tmp_path / 'm.keras')(images), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_activations_in_closed_form():
    x = np.linspace(-4, 4, 33, dtype=np.float32)
    relu6 = np.clip(x, 0, 6)
    beta, above = 20.0**4, np.maximum(x, 0)
    wanted = {
        'swish': x / (1 + np.exp(-x)),
        'relu': np.maximum(x, 0),
        'relu6': relu6,
        'hswish': x * np.clip(x + 3, 0, 6) / 6,
        'mish': x * np.tanh(np.log1p(np.exp(x))),
        'srelu': above - np.log(beta * above + 1) / beta,
    }
    for kind, values in wanted.items():
        np.testing.assert_allclose(activation(kind, kind)(x), values, atol=1e-5, err_msg=kind)
    assert set(wanted) | {'silu', 'swish_native'} == set(ACTIVATIONS)
    with pytest.raises(ValueError, match='expected one of swish'):
        activation('gelu', 'a')


def dropped(layer, *numbers, examples=64):
    """bool [examples]: what the layer drops in a step."""
    with random_step(*numbers):
        return (
            layer(np.ones((examples, 2, 3, 4), np.float32), training=True).numpy()[:, 0, 0, 0] == 0
        )


@pytest.mark.parametrize('dtype', ['float32', 'mixed_float16'])
def test_stochastic_depth_keeps_the_mean_and_whole_examples(dtype):
    layer = StochasticDepth(0.8, dtype=dtype)
    x = np.ones((20000, 2, 1, 2), np.float32)
    for context in (random_step(3, 1), random_step()):
        with context:
            y = np.asarray(layer(x, training=True), np.float32).reshape(len(x), -1)
        assert np.all(y == y[:, :1]) and set(np.unique(y)) == {0.0, np.float32(y.max())}
        assert y.max() == pytest.approx(1 / 0.8, rel=1e-3) and y.mean() == pytest.approx(
            1.0, abs=0.02
        )
    np.testing.assert_array_equal(layer(x), x.astype(layer(x).dtype.as_numpy_dtype))
    assert not layer.weights and not layer.variables


def test_stochastic_depth_repeats_itself_in_a_step_and_nowhere_else():
    layer, other = StochasticDepth(0.5, name='a'), StochasticDepth(0.5, name='b')
    seed, step, replica = 7, tf.constant(5, tf.int64), 0
    masks = [
        dropped(layer, seed, step, replica),
        dropped(layer, seed, step + 1, replica),
        dropped(layer, seed, step, 1),
        dropped(layer, 8, step, replica),
        dropped(other, seed, step, replica),
    ]
    np.testing.assert_array_equal(
        masks[0], dropped(StochasticDepth(0.5, name='a'), seed, 5, replica)
    )
    np.testing.assert_array_equal(
        masks[0], tf.function(lambda: dropped_in_graph(layer, seed, step, replica))()
    )
    with random_step(seed, step):
        np.testing.assert_array_equal(masks[0], dropped(layer, replica))
    freely = [layer(np.ones((64, 1)), training=True).numpy()[:, 0] == 0 for _ in range(2)]
    for i, mask in enumerate(masks + freely):
        assert not any(np.array_equal(mask, m) for m in (masks + freely)[:i])


def dropped_in_graph(layer, *numbers):
    with random_step(*numbers):
        return layer(tf.ones((64, 2, 3, 4)), training=True)[:, 0, 0, 0] == 0


def test_a_model_drops_by_its_count_of_steps():
    inputs = keras.Input((1,))
    model = DetectionModel(inputs, StochasticDepth(0.5, name='drop')(inputs))
    model.compile(keras.optimizers.SGD(0.0), 'mae', jit_compile=False)
    x, losses = np.arange(1, 17, dtype=np.float32)[:, None], []
    for start in (0, 0, 1, 2):
        model.optimizer.iterations.assign(start)
        losses.append(float(model.train_on_batch(x, np.zeros_like(x))))
    assert losses[0] == losses[1] and len(set(losses)) == 3
    with random_step(0, 2, 0):
        assert losses[3] == pytest.approx(np.mean(model(x, training=True)), rel=1e-6)
