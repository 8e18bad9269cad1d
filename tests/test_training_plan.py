"""A model in training: saved, loaded and trained on it is the one that went on; or it refuses
before the first step."""

import dataclasses

import keras
import numpy as np
import official
import pytest
import tensorflow as tf
import tiny

from keras_efficientdet import (
    ConfigError,
    KeepAverages,
    compile_for_training,
    efficientdet,
    load_config,
)
from keras_efficientdet.network.detection_model import computing_in

SETTINGS = {'plain': {}, 'in parts, recomputed': {'accumulation_steps': 2, 'recompute': True}}


def batches(count, seed=0):
    return tiny.batches(count).shuffle(count, seed, reshuffle_each_iteration=False)


def saved_and_loaded(model, folder, **arguments):
    model.save(folder / 'model.keras')
    return keras.models.load_model(folder / 'model.keras', **arguments)


def assert_trains_alike(model, loaded):
    """Two steps of both end at the same weights, statistics and averages."""
    start = tiny.values(loaded)
    assert all(np.array_equal(v, start[n]) for n, v in tiny.values(model).items())
    for one in (model, loaded):
        one.fit(batches(2, seed=1), verbose=0)
    wanted, found = tiny.values(model), tiny.values(loaded)
    assert tiny.difference(found, start) > 1e-4
    assert tiny.difference(found, wanted) == 0.0
    assert int(loaded.optimizer.iterations) == int(model.optimizer.iterations) == 4


@pytest.mark.parametrize('name', SETTINGS)
def test_a_loaded_model_goes_on_as_the_saved_one(name, tmp_path):
    model = tiny.compiled(**SETTINGS[name])
    model.fit(batches(2), verbose=0)
    loaded = saved_and_loaded(model, tmp_path)
    assert loaded.plan.config == model.plan.config
    assert (loaded.plan.forward is None) == (model.plan.forward is None)
    assert (loaded.plan.accumulation is None) == (model.plan.accumulation is None)
    assert_trains_alike(model, loaded)


def test_the_loss_scale_of_float16_goes_on(tmp_path):
    with computing_in('mixed_float16'):
        model = tiny.network(load_config())
    model = tiny.compiled(model)
    small = batches(2).map(lambda x, y, w: (x, y, {k: 0.01 * v for k, v in w.items()}))
    model.fit(batches(1).map(lambda x, y, w: (x * 1e6, y, w)), verbose=0)  # halves the scale
    model.fit(small, verbose=0)
    loaded = saved_and_loaded(model, tmp_path)
    assert keras.mixed_precision.global_policy().name == 'float32'
    for one in (model, loaded):
        one.fit(small, verbose=0)
    assert tiny.difference(tiny.values(loaded), tiny.values(model)) == 0.0
    scales = [one.plan.state._saved() for one in (model, loaded)]
    for name in scales[0]:
        np.testing.assert_array_equal(*(tf.convert_to_tensor(s[name]) for s in scales), name)


def test_averages_are_kept_after_loading(tmp_path):
    official.bug_input('load_model_then_keep_averages')
    model = tiny.compiled()
    model.fit(batches(2), verbose=0, callbacks=[KeepAverages()])
    loaded = saved_and_loaded(model, tmp_path)
    for one in (model, loaded):
        one.fit(batches(2, seed=1), verbose=0, callbacks=[KeepAverages()])
    found = tiny.values(loaded)
    assert tiny.difference(found, tiny.values(model)) == 0.0
    np.testing.assert_array_equal(found['average 0'], found['stem/0'])


def test_a_loaded_model_evaluates_and_predicts(tmp_path):
    model = tiny.compiled()
    model.fit(batches(2), verbose=0)
    images = next(iter(tiny.batches(1)))[0]
    for options in ({}, {'compile': False}):
        loaded = saved_and_loaded(model, tmp_path, **options)
        for name, found in loaded.predict(images, verbose=0).items():
            np.testing.assert_array_equal(found, model.predict(images, verbose=0)[name])
    loaded = saved_and_loaded(model, tmp_path)
    wanted = model.evaluate(tiny.batches(1), verbose=0, return_dict=True)
    assert loaded.evaluate(tiny.batches(1), verbose=0, return_dict=True) == wanted


def test_weights_files_hold_no_averages(tmp_path):
    """They are read by the same network without a plan, as `load_trained` makes it."""
    model = tiny.compiled()
    model.fit(batches(2), verbose=0)
    model.save_weights(tmp_path / 'model.weights.h5')
    other = tiny.network(load_config())
    other.load_weights(tmp_path / 'model.weights.h5')
    assert all(map(np.array_equal, other.get_weights(), model.get_weights()))


@pytest.mark.parametrize('options', [{}, {'compile': False}])
def test_frozen_layers_stay_frozen_after_loading_and_can_be_trained_again(options, tmp_path):
    config = load_config(
        'efficientdet-lite0', {'image_size': 64, 'num_classes': 2, 'freeze': ['efficientnet']}
    )
    model = efficientdet(config)
    model.get_layer('class_net.class-predict').trainable = False  # by the user
    compile_for_training(model, steps_per_epoch=10)
    loaded = saved_and_loaded(model, tmp_path, **options)
    flags = {layer.name: layer.trainable for layer in model.layers}
    assert {layer.name: layer.trainable for layer in loaded.layers} == flags
    assert loaded.plan.frozen == model.plan.frozen != frozenset()
    thawed = load_config(config, {'freeze': None})
    compile_for_training(loaded, thawed, 10)
    left = [layer.name for layer in loaded.layers if not layer.trainable]
    assert left == ['class_net.class-predict']


class Stepped(keras.callbacks.Callback):
    """Whether a step was taken."""

    count = 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1


def test_a_plan_that_was_lost_is_refused_before_the_first_step(tmp_path):
    """Files of versions that saved no plan: the optimizer and the losses come back, all else does
    not."""
    model = tiny.compiled()
    lost = tiny.network(model.detection_config)
    lost.compile(model.optimizer.from_config(model.optimizer.get_config()), model.loss)
    before, stepped = lost.get_weights(), Stepped()
    with pytest.raises(ConfigError, match='call compile_for_training'):
        lost.fit(batches(1), verbose=0, callbacks=[stepped])
    assert stepped.count == 0
    assert all(map(np.array_equal, lost.get_weights(), before))


def test_averages_cannot_be_kept_without_a_plan():
    model = tiny.network(load_config())
    model.compile('sgd', PLAIN)
    with pytest.raises(ConfigError, match=r'KeepAverages: .*call compile_for_training'):
        model.fit(plain_batches(), verbose=0, callbacks=[KeepAverages()])


PLAIN = {'boxes': 'mse', 'classes': 'mse'}


def plain_batches():
    """Images and targets in the shape of the outputs, for losses of Keras."""
    logits = tf.zeros([8, 64, 3])
    return tiny.batches(2).map(lambda x, y, w: (x, {'boxes': y['boxes'], 'classes': logits}))


def test_a_model_that_the_user_compiled_trains_plainly(tmp_path):
    """Also one that had a plan before: another `compile` ends it."""
    model = tiny.compiled(accumulation_steps=2)
    model.compile('sgd', PLAIN, jit_compile=False)
    assert model.plan.state is None and model.plan.accumulation is None
    before = model.get_weights()
    model.fit(plain_batches(), verbose=0)
    assert not all(map(np.array_equal, model.get_weights(), before))
    loaded = saved_and_loaded(model, tmp_path)
    loaded.fit(plain_batches(), verbose=0)
    assert loaded.plan.state is None


def test_an_impossible_plan_leaves_a_model_that_predicts(tmp_path, caplog):
    """As where a file is loaded under a strategy of other replicas; here the configuration in the
    file is changed."""
    model = tiny.compiled()
    config = load_config(model.plan.config, {'accumulation_steps': 2})
    loaded = tiny.network(config)
    wrong = load_config(config, {'accumulation_steps': 3})
    model.attach(dataclasses.replace(model.plan, config=wrong))
    loaded.compile_from_config(model.get_compile_config())
    assert 'cannot be cut into accumulation_steps 3' in caplog.text
    assert 'boxes' in loaded.predict(next(iter(tiny.batches(1)))[0], verbose=0)
    with pytest.raises((RuntimeError, ValueError), match='compile'):
        loaded.fit(batches(1), verbose=0)


def test_steps_per_epoch_must_be_given():
    model = tiny.network(load_config())
    with pytest.raises(TypeError, match='needs steps_per_epoch'):
        compile_for_training(model)
    with pytest.raises(ConfigError, match='positive integer, found 0'):
        compile_for_training(model, steps_per_epoch=0)
