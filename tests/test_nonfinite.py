"""A loss that is no number stops a training, names the culprit and overwrites nothing."""

import drawn
import keras
import numpy as np
import pytest
import tensorflow as tf
from fit_worker import small_fit

from keras_efficientdet.network.detection_model import DetectionModel
from keras_efficientdet.training import NonFiniteLossError
from keras_efficientdet.training.nonfinite import StopOnNonFinite


def toy(rate, per_execution):
    inputs = keras.Input((4,), name='images')
    model = DetectionModel(inputs, {'boxes': keras.layers.Dense(1, name='out')(inputs)})
    model.compile(
        keras.optimizers.SGD(rate),
        {'boxes': 'mse'},
        steps_per_execution=per_execution,
        jit_compile=False,
    )
    return model


def batches(planted=None):
    """Eight batches; an infinite target in the planted one."""
    rng = np.random.default_rng(0)
    x, y = (
        rng.standard_normal((8, 2, 4)).astype(np.float32),
        rng.standard_normal((8, 2, 1)).astype(np.float32),
    )
    if planted is not None:
        y[planted, 1] = np.inf
    return tf.data.Dataset.from_tensor_slices(
        (x, {'boxes': y}, {'boxes': np.ones((8, 2), np.float32)})
    )


@pytest.mark.parametrize(
    'per_execution, where', [(1, 'step 6: '), (4, 'one of the steps 5 to 8: ')]
)
def test_an_infinite_target_is_found_and_kept(per_execution, where, tmp_path):
    data = batches(planted=5)
    with pytest.raises(NonFiniteLossError, match=f'in epoch 1, {where}.*loss') as error:
        toy(0.01, per_execution).fit(
            data, verbose=0, callbacks=[StopOnNonFinite(tmp_path, lambda epoch: data)]
        )
    assert 'not finite in the input: targets.boxes\n' in str(error.value)
    assert 'not finite in the weights after the step: out/' in str(error.value)
    with np.load(tmp_path / 'nonfinite_batch.npz') as file:
        kept = dict(file)
    images, targets, weights = list(data)[5]
    np.testing.assert_array_equal(kept['images'], images)
    np.testing.assert_array_equal(kept['targets.boxes'], targets['boxes'])
    np.testing.assert_array_equal(kept['weights.boxes'], weights['boxes'])
    assert (tmp_path / 'nonfinite.txt').read_text() in str(error.value)


def test_a_learning_rate_that_is_far_too_high_is_found_in_the_weights(tmp_path):
    data = batches()
    with pytest.raises(NonFiniteLossError, match='learning rate is too high') as error:
        toy(1e30, 1).fit(data, verbose=0, callbacks=[StopOnNonFinite(tmp_path, lambda epoch: data)])
    assert 'not finite in the input: none' in str(
        error.value
    ) and 'the weights after the step: out/' in str(error.value)


def test_a_finite_training_is_left_alone(tmp_path):
    data = batches()
    toy(0.01, 1).fit(
        data, epochs=2, verbose=0, callbacks=[StopOnNonFinite(tmp_path, lambda epoch: data)]
    )
    assert not list(tmp_path.iterdir())


class TooFast(keras.callbacks.Callback):
    """Trains at a learning rate of 1e38 from the second epoch on; remembers the files that the
    first one left."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            self.model.optimizer.learning_rate = 1e38
            self.files = {p: p.read_bytes() for p in kept_files(self.folder)}


def kept_files(folder):
    return [*folder.rglob('*.npz'), *folder.rglob('*.h5'), *folder.rglob('*.csv')]


def test_fit_stops_and_keeps_the_batch_that_it_trained_on(tmp_path):
    """Two steps in one call; the pipeline gives the batch of the second epoch again, and the
    files of the first stay."""
    records = drawn.records(tmp_path, [(64, 80, [drawn.box(4 + i, 8, 30, 24)]) for i in range(4)])
    run, changes = (
        tmp_path / 'run',
        {
            'lr_decay_method': 'constant',
            'lr_warmup_epoch': 0,
            'clip_gradients_norm': 0.0,
            'optimizer': 'sgd',
            'steps_per_execution': 2,
        },
    )
    too_fast = TooFast(run)
    with pytest.raises(NonFiniteLossError, match='epoch 2, one of the steps 1 to 2') as error:
        small_fit(records, run, changes, callbacks=[too_fast])
    assert 'the input: none' in str(error.value) and ' more\n' in str(error.value)
    with np.load(run / 'nonfinite_batch.npz') as file:
        assert file['images'].shape == (2, 128, 128, 3) and file['targets.boxes'].any()
    assert {p.name for p in too_fast.files} == {'epoch-0001.npz', 'log.csv'}
    assert all(path.read_bytes() == content for path, content in too_fast.files.items())
    assert set(kept_files(run)) == {*too_fast.files, run / 'nonfinite_batch.npz'}
