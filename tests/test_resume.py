"""Trainings that stop and go on: bit for bit the same, never a broken checkpoint, never two
settings in one folder."""

import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys

import drawn
import keras
import numpy as np
import pytest
from fit_worker import small_fit
from test_training import events

from keras_efficientdet import load_config
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.files import locked, remove_unfinished, replaced_file
from keras_efficientdet.network.training_plan import TrainingPlan
from keras_efficientdet.training import load_trained, resume
from keras_efficientdet.training.callbacks import (
    CsvLog,
    KeepAverages,
    SwapAverages,
    check_callbacks,
)
from keras_efficientdet.training.full_disk import full_disk_named
from keras_efficientdet.training.optimizers import optimizer
from keras_efficientdet.training.resume import Checkpoint, checkpoints_in, restore
from keras_efficientdet.training.state import TrainingState

WORKER = pathlib.Path(__file__).with_name('fit_worker.py')


def process(*arguments):
    """A Python process that finds what this one does; its result."""
    environment = {
        **os.environ,
        'TF_CPP_MIN_LOG_LEVEL': '3',
        'PYTHONPATH': os.pathsep.join(p for p in sys.path if p),
    }
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def train(records, workdir, *signal):
    """The result of a process that trains."""
    return process(WORKER, records, workdir, *signal)


def contents(path):
    with np.load(path) as file:
        arrays = dict(file)
    return json.loads(str(arrays.pop('state'))), arrays


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Records of nine drawn pictures, their boxes as large as the anchors of `small_fit`."""
    boxes = [drawn.box(2 + i, 10 - i, 44, 46, (1, 18, 400)[i % 3]) for i in range(9)]
    return drawn.records(
        tmp_path_factory.mktemp('photos'), [(64, 64 + 2 * i, [box]) for i, box in enumerate(boxes)]
    )


@pytest.mark.parametrize(
    'interrupted', [False, pytest.param(True, marks=pytest.mark.slow)], ids=['killed', 'both']
)
def test_interrupted_and_killed_trainings_end_as_one_that_ran_through(
    photos, tmp_path, interrupted
):
    """SIGTERM in the second epoch, kill -9 in the third, then the last two epochs from the
    checkpoint of the first two."""
    whole = train(photos, tmp_path / 'whole')
    assert whole.returncode == 0, whole.stderr[-3000:]
    if interrupted:
        stopped = train(photos, tmp_path / 'parts', 'SIGTERM', 1, 1)
        assert stopped.returncode == 143 and 'Run the same command again' in stopped.stdout, (
            stopped.stderr[-3000:]
        )
        left = checkpoints_in(tmp_path / 'parts' / 'checkpoint')
        assert [p.name for p in left] == ['epoch-0001.npz']
    killed = train(photos, tmp_path / 'parts', 'SIGKILL', 2, 2)
    assert killed.returncode == -9, killed.stderr[-3000:]
    assert ('continues after epoch 1 of 4' in killed.stdout) == interrupted
    finished = train(photos, tmp_path / 'parts')
    assert finished.returncode == 0 and 'continues after epoch 2 of 4' in finished.stdout, (
        finished.stderr[-3000:]
    )
    (state, arrays), (wanted_state, wanted) = (
        contents(tmp_path / run / 'checkpoint' / 'epoch-0004.npz') for run in ('parts', 'whole')
    )
    assert [n for n in wanted if not np.array_equal(arrays[n], wanted[n])] == []
    assert state == wanted_state and [row['epoch'] for row in state['rows']] == [1, 2, 3, 4]
    assert (tmp_path / 'parts' / 'log.csv').read_text() == (
        tmp_path / 'whole' / 'log.csv'
    ).read_text()
    shown, wanted = (events(tmp_path / run / 'logs' / 'train') for run in ('parts', 'whole'))
    assert set(shown['epoch_loss']) == {0, 1, 2, 3} and shown['epoch_loss'] == wanted['epoch_loss']


def test_a_second_training_in_one_folder_is_refused(photos, tmp_path):
    """The first may be about to write; what it has written stays as it is."""
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'writing-0123456789abcdef0123456789abcdef.log.csv').write_text('half')
    with locked(tmp_path / 'run' / '.lock'):
        second = train(photos, tmp_path / 'run')
    assert second.returncode == 1
    named = f'run: another training runs in this folder (in use by process {os.getpid()} on '
    assert named in second.stderr
    assert len(list((tmp_path / 'run').iterdir())) == 2


class Seen(keras.callbacks.Callback):
    """The weights that callbacks of the user see, by epoch."""

    def on_train_begin(self, logs=None):
        self.weights, self.rates = [], []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append([np.array(w) for w in self.model.get_weights()])
        self.rates.append(float(self.model.optimizer.learning_rate))


def equal(found, wanted):
    return all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_keras_callbacks_act_on_val_ap_in_a_real_fit(photos, tmp_path, caplog):
    """No AP is 1 above that of the first epoch, so EarlyStopping and ReduceLROnPlateau act after
    two more."""
    changes, run, path = (
        {**CHANGES[2], 'num_epochs': 9},
        tmp_path / 'run',
        tmp_path / 'kept.weights.h5',
    )
    watched = {'monitor': 'val_AP', 'mode': 'max'}
    stop = keras.callbacks.EarlyStopping(
        **watched, patience=2, min_delta=1.0, restore_best_weights=True
    )
    keep = keras.callbacks.ModelCheckpoint(
        str(path), **watched, save_best_only=True, save_weights_only=True
    )
    plateau, seen = (
        keras.callbacks.ReduceLROnPlateau(**watched, factor=0.5, patience=1, min_delta=1.0),
        Seen(),
    )
    history = small_fit(
        photos, run, changes, evaluate_every=1, callbacks=[seen, plateau, keep, stop]
    )
    precision = history.history['val_AP']
    assert len(precision) == 3 and max(precision) > 0, precision
    assert (
        stop.best == precision[0]
        and keep.best == max(precision)
        and seen.rates == [seen.rates[0] / n for n in (1, 1, 2)]
    )
    assert history.history['learning_rate'] == pytest.approx(seen.rates)
    assert equal(history.model.get_weights(), seen.weights[0]) and not equal(
        seen.weights[0], seen.weights[2]
    )
    assert equal(load_trained(run, 'last.weights.h5').get_weights(), seen.weights[0])
    best = seen.weights[int(np.argmax(precision))]
    assert equal(load_trained(run).get_weights(), best)
    history.model.load_weights(str(path))
    assert equal(history.model.get_weights(), best)
    files = {p: p.stat().st_mtime_ns for p in run.rglob('*')}
    caplog.set_level('INFO')
    again = small_fit(photos, run, changes)
    assert 'this training is finished' in caplog.text and again.history['val_AP'] == precision
    assert equal(again.model.get_weights(), seen.weights[0])
    with pytest.raises(ConfigError, match=r'train\.num_epochs is 9 there and 8 now'):
        small_fit(photos, run, {**changes, 'num_epochs': 8})
    assert {p: p.stat().st_mtime_ns for p in run.rglob('*')} == files
    shutil.rmtree(run / 'checkpoint')  # to save room
    with pytest.raises(ConfigError, match=r'last\.weights\.h5 belongs to a finished training'):
        small_fit(photos, run, changes)
    assert equal(load_trained(run, 'last.weights.h5').get_weights(), seen.weights[0])


class Best:
    """What a Checkpoint wants of CocoEvaluation."""

    best = 0.25


def toy(**changes):
    """A small compiled model with averages, an optimizer from its Config, and two steps of
    training behind it."""
    from test_training import toy as bare

    model = bare()
    model.detection_config = load_config('efficientdet-lite0', changes)
    model.compile(optimizer(model.detection_config.train, 10), 'mse', jit_compile=False)
    model.attach(TrainingPlan(state=TrainingState(model, 0.9, ramp=True)))
    return model


def step(model, seed=0):
    x = np.random.default_rng(seed).standard_normal((16, 4)).astype(np.float32)
    return float(model.train_on_batch(x, x[:, :1]))


def writer(model, folder, epochs=1, best=Best, steps=10):
    log = CsvLog(folder / 'log.csv')
    checkpoint = Checkpoint(folder / 'checkpoint', best, log, steps)
    checkpoint.set_model(model)
    for epoch in range(epochs):
        log.rows.append({'epoch': epoch + 1, 'loss': np.float32(step(model))})
        checkpoint.on_epoch_end(epoch)
    return checkpoint


CHANGES = [
    {'optimizer': 'sgd'},
    {'optimizer': 'adam'},
    {'lr_decay_method': 'constant', 'lr_warmup_epoch': 0},
]


@pytest.mark.parametrize('changes', CHANGES)
def test_everything_that_a_step_changes_comes_back(changes, tmp_path):
    model = toy(**changes)
    if changes == CHANGES[2]:
        model.optimizer.learning_rate = 0.0625
    writer(model, tmp_path, epochs=3)
    other = toy(**changes)
    step(other, seed=5)
    done = restore(other, tmp_path / 'checkpoint', 10)
    assert (done.epoch, done.best, len(done.rows)) == (3, 0.25, 3) and done.rows[0]['epoch'] == 1
    for _ in range(3):
        assert step(model) == step(other)
    ours, theirs = resume._arrays(model), resume._arrays(other)
    assert [n for n in ours if not np.array_equal(ours[n], theirs[n])] == []
    assert {n.partition('.')[0] for n in ours} == {'weights', 'averages', 'optimizer'}
    assert float(other.optimizer.learning_rate) == float(model.optimizer.learning_rate)


def test_the_dynamic_loss_scale_comes_back(tmp_path):
    models = [toy(), toy()]
    for model in models:
        scaled = keras.mixed_precision.LossScaleOptimizer(model.optimizer)
        model.compile(scaled, 'mse', jit_compile=False)
    writer(models[0], tmp_path, epochs=2)
    restore(models[1], tmp_path / 'checkpoint', 10)
    ours, theirs = (resume._arrays(m) for m in models)
    assert 2**15 in [a for a in ours.values() if a.shape == ()] and all(
        np.array_equal(ours[n], theirs[n]) for n in ours
    )


def test_the_last_two_are_kept_and_a_broken_one_is_passed_over(tmp_path, caplog):
    model = toy()
    writer(model, tmp_path, epochs=3)
    files = checkpoints_in(tmp_path / 'checkpoint')
    assert [p.name for p in files] == ['epoch-0002.npz', 'epoch-0003.npz']
    files[1].write_bytes(files[1].read_bytes()[:1000])
    assert restore(model, tmp_path / 'checkpoint', 10).epoch == 2
    assert 'epoch-0003.npz: not readable' in caplog.text
    assert restore(model, tmp_path / 'nothing', 10) == resume.Progress()
    files[0].write_bytes(b'')
    with pytest.raises(ConfigError, match='none of 2 checkpoints can be read'):
        restore(model, tmp_path / 'checkpoint', 10)


@pytest.mark.parametrize(
    'changes, steps, words',
    [
        ({'num_classes': 3}, 10, 'model.num_classes is 90 there and 3 now'),
        ({'seed': 4}, 10, 'train.seed is 0 there and 4 now'),
        ({'num_epochs': 400}, 10, 'train.num_epochs is 300 there and 400 now'),
        ({}, 11, '10 steps there and has 11 now'),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(changes, steps, words, tmp_path):
    writer(toy(), tmp_path)
    other = toy(**changes)
    before = [np.asarray(w) for w in other.get_weights()]
    with pytest.raises(ConfigError, match=words) as error:
        restore(other, tmp_path / 'checkpoint', steps)
    assert 'choose another workdir' in str(error.value)
    assert all(np.array_equal(a, b) for a, b in zip(before, other.get_weights(), strict=True))


CLASSES = {'num_classes': 2, 'label_map': {18: 'dog', 1: 'cat'}}


def with_stored_label_map(folder, label_map):
    """Rewrites the checkpoint in a folder so that its configuration has another `label_map`."""
    path = checkpoints_in(folder)[-1]
    state, arrays = contents(path)
    state['config']['model']['label_map'] = label_map
    np.savez(path, state=json.dumps(state), **arrays)


def test_the_same_classes_in_another_order_are_refused(tmp_path):
    writer(toy(**CLASSES), tmp_path)
    other = toy(num_classes=2, label_map={1: 'cat', 18: 'dog'})
    with pytest.raises(ConfigError, match=r"label_map is \[\[18, 'dog'\], \[1, 'cat'\]\] there"):
        restore(other, tmp_path / 'checkpoint', 10)
    assert restore(toy(**CLASSES), tmp_path / 'checkpoint', 10).epoch == 1


def test_a_label_map_that_an_older_version_stored_is_read_in_its_order(tmp_path):
    writer(toy(**CLASSES), tmp_path)
    with_stored_label_map(tmp_path / 'checkpoint', {'18': 'dog', '1': 'cat'})
    assert restore(toy(**CLASSES), tmp_path / 'checkpoint', 10).epoch == 1
    with_stored_label_map(tmp_path / 'checkpoint', {'1': 'cat', '18': 'dog'})
    with pytest.raises(ConfigError, match='label_map is'):
        restore(toy(**CLASSES), tmp_path / 'checkpoint', 10)


def test_settings_that_no_weight_depends_on_may_change(tmp_path):
    writer(toy(), tmp_path)
    assert (
        restore(
            toy(method='hard', data_service='grpc://elsewhere:5000'), tmp_path / 'checkpoint', 10
        ).epoch
        > 0
    )


@pytest.mark.filterwarnings(
    'ignore::pytest.PytestUnraisableExceptionWarning'
)  # numpy's zip file, cut off
def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path):
    checkpoint = writer(toy(), tmp_path)
    good = (tmp_path / 'checkpoint' / 'epoch-0001.npz').read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (len(good) // 2, limits[1])
    )  # Python ignores SIGXFSZ, so writes fail
    try:
        with (
            pytest.raises(OSError, match=r'no room to write.*it goes on from .*epoch-0001\.npz'),
            full_disk_named(tmp_path),
        ):
            checkpoint.on_epoch_end(1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [p.name for p in (tmp_path / 'checkpoint').iterdir()] == ['epoch-0001.npz']
    assert (tmp_path / 'checkpoint' / 'epoch-0001.npz').read_bytes() == good
    checkpoint.on_epoch_end(1)
    assert restore(toy(), tmp_path / 'checkpoint', 10).epoch == 2


FULL = """
import pathlib, resource, sys
import test_resume
from keras_efficientdet.training.callbacks import TensorBoardLog, save_weights
from keras_efficientdet.training.full_disk import full_disk_named
folder, model = pathlib.Path(sys.argv[2]), test_resume.toy()
log = TensorBoardLog(str(folder))
log.set_model(model)
resource.setrlimit(resource.RLIMIT_FSIZE, (600, resource.RLIM_INFINITY))
with full_disk_named(folder):
    for epoch in range(99):
        if sys.argv[1] == 'h5py':
            save_weights(model, folder / 'w.weights.h5')
        else:
            log.on_epoch_end(epoch, {'loss': 1.})
"""


@pytest.mark.parametrize('library', ['h5py', 'tensorboard'])
def test_a_full_disk_is_named_whoever_meets_it(library, tmp_path):
    done = process('-c', FULL, library, tmp_path)
    assert 'OSError: ' in done.stderr and 'no room to write' in done.stderr, done.stderr[-2000:]
    assert 'Make room and run the same command again; it goes on from the start' in done.stderr


def test_what_killed_processes_left_is_removed(tmp_path):
    unfinished = []
    for name in ('best.weights.h5', 'checkpoint/epoch-0001.npz'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        with replaced_file(tmp_path / name) as working:
            working.touch()
            unfinished.append(working)
    for path in (*unfinished, tmp_path / 'writing-notes.txt'):
        path.touch()
    remove_unfinished(tmp_path, tmp_path / 'checkpoint', tmp_path / 'nothing')
    assert {p.name for p in tmp_path.rglob('*.*')} == {
        'best.weights.h5',
        'epoch-0001.npz',
        'writing-notes.txt',
    }


def test_averages_that_are_kept_are_what_the_next_fit_starts_from():
    x, model = np.random.default_rng(0).standard_normal((32, 4)).astype(np.float32), toy()
    for _ in range(2):
        seen = Seen()
        model.fit(x, x[:, :1], batch_size=8, verbose=0, callbacks=[seen, KeepAverages()])
        averages = [np.array(a) for a in model.plan.state.averages]
        assert equal(model.get_weights(), averages) and not equal(seen.weights[-1], averages)


class Figures(keras.callbacks.Callback):
    """A val_AP that is best in the second epoch; remembers what was evaluated then."""

    def on_epoch_end(self, epoch, logs=None):
        logs['val_AP'] = (0.1, 0.5, 0.2, 0.1)[epoch]
        if epoch == 1:
            self.model.plan.state.swap()
            self.evaluated = self.model.get_weights()
            self.model.plan.state.swap()


def test_keras_callbacks_keep_the_averages_that_were_evaluated(tmp_path):
    model, figures = toy(), Figures()
    path = tmp_path / 'kept.weights.h5'
    stop = keras.callbacks.EarlyStopping(
        monitor='val_AP', mode='max', patience=1, restore_best_weights=True
    )
    keep = keras.callbacks.ModelCheckpoint(
        str(path), monitor='val_AP', mode='max', save_best_only=True, save_weights_only=True
    )
    x = np.random.default_rng(0).standard_normal((32, 4)).astype(np.float32)
    history = model.fit(
        x,
        x[:, :1],
        batch_size=8,
        epochs=4,
        verbose=0,
        callbacks=[figures, KeepAverages(), SwapAverages(), stop, keep, SwapAverages()],
    )
    assert len(history.history['val_AP']) == 3
    assert all(
        np.array_equal(a, b) for a, b in zip(model.get_weights(), figures.evaluated, strict=True)
    )
    model.load_weights(str(path))
    assert all(
        np.array_equal(a, b) for a, b in zip(model.get_weights(), figures.evaluated, strict=True)
    )


def test_reduce_lr_on_plateau_works_without_a_schedule_and_says_so_with_one():
    model, plateau = (
        toy(**CHANGES[2]),
        keras.callbacks.ReduceLROnPlateau(monitor='val_AP', mode='max', factor=0.5, patience=1),
    )
    check_callbacks([plateau], model.detection_config.train)
    peak = float(model.optimizer.learning_rate)
    assert peak == pytest.approx(0.08)
    x = np.ones((16, 4), np.float32)
    model.fit(x, x[:, :1], epochs=4, verbose=0, callbacks=[Figures(), plateau])
    assert float(model.optimizer.learning_rate) == pytest.approx(peak / 4)
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: 1e-6)
    check_callbacks([scheduler], model.detection_config.train)
    for changes in ({}, {'lr_decay_method': 'constant'}):
        for callback in (plateau, scheduler):
            cure = 'set lr_decay_method=constant and lr_warmup_epoch=0'
            words = f'{type(callback).__name__} cannot .* {cure}'
            with pytest.raises(ConfigError, match=words):
                check_callbacks(
                    [keras.callbacks.History(), callback],
                    load_config('efficientdet-lite0', changes).train,
                )
