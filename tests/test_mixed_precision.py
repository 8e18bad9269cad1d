"""float16 and bfloat16: steps near those of float32, overflow, files, and no policy left behind."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
import yaml

from keras_efficientdet import efficientdet, load_config
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.network.detection_model import computing_in
from keras_efficientdet.training import load_trained

NEAR = {'mixed_float16': 5e-3, 'mixed_bfloat16': 5e-2}  # of the loss; the types have 11 and 8 bits


def light_batches(count):
    """With losses so small that the first loss scale, 32768, fits; clipping scaled gradients
    would stop the training."""
    return tiny.batches(count).map(
        lambda x, y, w: (x, y, {name: 0.01 * weight for name, weight in w.items()})
    )


@pytest.fixture(scope='module')
def plain():
    model = tiny.compiled()
    return model.fit(light_batches(3), verbose=0).history, tiny.values(model)


def mixed(policy, **train):
    with computing_in(policy):
        model = tiny.network(load_config())
    return tiny.compiled(model, **train)


@pytest.mark.parametrize('policy', NEAR)
@pytest.mark.parametrize('options', [{}, {'recompute': True}], ids=lambda o: ''.join(o) or 'plain')
def test_steps_are_near_those_of_float32(plain, policy, options):
    logs, values = plain
    model = mixed(policy, **options)
    found = model.fit(light_batches(3), verbose=0).history
    assert all('float32' in str(w.dtype) for w in model.weights)
    assert model(np.ones((1, 16, 16, 3), np.float32))['boxes'].dtype == 'float32'
    assert found['loss'] == pytest.approx(logs['loss'], rel=NEAR[policy])
    assert tiny.difference(tiny.values(model), values) < 20 * NEAR[policy]


@pytest.mark.parametrize('parts', [1, 2])
@pytest.mark.parametrize('ramp', [True, False])
def test_an_overflow_changes_no_weight_no_average_no_statistic(parts, ramp):
    model = mixed('mixed_float16', accumulation_steps=parts, batch_norm_ramp=ramp)
    start = tiny.values(model)
    model.fit(light_batches(1), verbose=0)
    before = tiny.values(model)
    model.fit(tiny.batches(1).map(lambda x, y, w: (x * 1e6, y, w)), verbose=0)
    after = tiny.values(model)
    assert all(np.array_equal(after[name], before[name]) for name in before)
    model.fit(light_batches(1), verbose=0)
    for name in ('stem/0', 'bn/2', 'average 0'):
        assert not np.array_equal(before[name], start[name]) and not np.array_equal(
            tiny.values(model)[name], after[name]
        )


def test_the_policy_stays_inside_and_files_are_float32(tmp_path):
    outside = keras.mixed_precision.global_policy().name
    config = load_config(
        'efficientdet-lite0', {'image_size': 64, 'num_classes': 2, 'fpn_cell_repeats': 1}
    )
    model = efficientdet(load_config(config, 'mixed_precision=mixed_bfloat16'))
    assert keras.mixed_precision.global_policy().name == outside
    images = np.random.default_rng(0).standard_normal((1, 64, 64, 3)).astype(np.float32)
    model.save_weights(str(tmp_path / 'm.weights.h5'))
    (tmp_path / 'config.yaml').write_text(yaml.safe_dump(model.detection_config.to_dict()))
    other = load_trained(tmp_path, 'm.weights.h5')
    assert {layer.compute_dtype for layer in other.layers} == {'float32'}
    for name, value in other(images).items():
        assert model(images)[name].dtype == tf.float32
        np.testing.assert_allclose(model(images)[name], value, atol=0.1)


def test_unknown_types_are_refused():
    with pytest.raises(ConfigError, match=r"mixed_precision must be one of .*found 'float16'"):
        load_config('efficientdet-d0', 'mixed_precision=float16')
