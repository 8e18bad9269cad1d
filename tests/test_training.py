"""The official training steps through Keras' own `fit`, and what stands around them."""

import csv
import json
import math

import drawn
import keras
import numpy as np
import official
import pytest
import tensorflow as tf
import tiny
from little import little_config

from keras_efficientdet import compile_for_training, efficientdet, load_config, load_official
from keras_efficientdet.network.heads.anchor import targets
from keras_efficientdet.network.training_plan import TrainingPlan
from keras_efficientdet.training import CsvLog
from keras_efficientdet.training.state import TrainingState
from keras_efficientdet.weights.official import (
    official_shapes,
    official_variables,
    official_weights,
)

STEM = 'efficientnet-lite0/stem/conv2d/kernel'
# Relative differences that 1e-7 of input noise explains; they grow from step to step (the step
# itself is exact).
LOSS = {'sgd': (1e-5, 5e-5, 2e-3), 'adam': (1e-5, 1e-3)}
WORST = {'sgd': (5e-5, 1e-3, 3e-2), 'adam': (1e-3, 5e-3)}
MEDIAN = {'sgd': (1e-6, 2e-5, 1e-4), 'adam': (1e-5, 1e-4)}


def official_run(name):
    """(model compiled as the golden was, its config, golden arrays, index entry)"""
    entry, arrays = official.index(f'func/{name}.npz'), official.golden(f'func/{name}.npz')
    if arrays is None:
        pytest.skip(f'golden func/{name}.npz is not here')
    params = entry['params']
    config = load_config(
        'efficientdet-d0',
        [
            entry['overrides'],
            {k: v for k, v in params.items() if k != 'steps_per_epoch'},
            {'batch_norm_ramp': False},
        ],
    )
    model = efficientdet(config)
    load_official(
        model,
        official.seeded_weights(official_shapes(model), {'fpn_gain': 1.3, 'project_gain': 1.0}),
    )
    compile_for_training(model, config, params['steps_per_epoch'])
    return model, config, arrays, entry


def official_batch(config, entry, step):
    """The step's batch as `fit` takes it."""
    encode, rows = targets(config), []
    for boxes, labels in entry['gts']:
        rows.append(encode(tf.constant(boxes), tf.constant([int(k) - 1 for k in labels])))
    truth = {k: tf.stack([r[0][k] for r in rows]) for k in rows[0][0]}
    weight = tf.fill([2], 1.0 / (1.0 + sum(r[1] for r in rows)))
    images = official.make_input(2, 128, 128, 10 + step)
    return tf.data.Dataset.from_tensors((images, truth, dict.fromkeys(truth, weight)))


def differences(values, arrays, prefix):
    """|ours - official| / largest official value, for each recorded variable."""
    result = {}
    for key in arrays:
        head, _, name = key.partition('/')
        if head == prefix:
            ours = np.asarray(values[name]).reshape(-1)[:200]
            result[name] = float(
                np.max(np.abs(ours - arrays[key])) / max(np.max(np.abs(arrays[key])), 1e-8)
            )
    result.pop(
        'resample_p6/conv2d/bias', None
    )  # its true gradient is zero (a batch norm follows): only noise
    return result


@pytest.mark.parametrize(
    'name, kind',
    [
        ('train_sgd_ema_legacyopt', 'sgd'),
        pytest.param('train_adam_noema', 'adam', marks=[pytest.mark.slow, pytest.mark.golden]),
    ],
)
def test_official_trajectory(name, kind):
    """Three SGD steps with averages (the run without averages has the same weights), two Adam
    steps."""
    model, config, arrays, entry = official_run(name)
    for step, values in enumerate(entry['loss_vals']):
        logs = model.fit(official_batch(config, entry, step), verbose=0).history
        assert logs['classes_loss'][0] == pytest.approx(values['cls_loss'], rel=LOSS[kind][step])
        assert logs['boxes_loss'][0] == pytest.approx(values['box_loss'], rel=LOSS[kind][step])
        assert logs['loss'][0] == pytest.approx(values['loss'], rel=LOSS[kind][step])
        found = differences(official_weights(model), arrays, f'step{step + 1}')
        assert len(found) > 15
        assert max(found.values()) < WORST[kind][step], found
        assert np.median(list(found.values())) < MEDIAN[kind][step], found
        if kind == 'sgd' and step < 2:
            plain = differences(
                official_weights(model),
                official.golden('func/train_sgd_noema.npz'),
                f'step{step + 1}',
            )
            assert max(plain.values()) < WORST[kind][step], plain
    if config.train.moving_average_decay:
        averages = model.plan.state
        by_id = {id(v): a for v, a in zip(averages.variables, averages.averages, strict=True)}
        values = {
            n: by_id[id(v)] if i is None else by_id[id(v)][i]
            for n, (v, i) in official_variables(model).items()
        }
        assert max(differences(values, arrays, 'ema').values()) < WORST[kind][2]


def toy(**train):
    """A tiny network with the machinery of a detector: one batch norm and a dense layer."""
    from keras_efficientdet.network.detection_model import DetectionModel
    from keras_efficientdet.network.layers import BatchNorm

    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,))
    x = keras.layers.Reshape((1, 1, 4))(inputs)
    x = BatchNorm(momentum=0.99, epsilon=1e-3, name='bn')(x)
    model = DetectionModel(inputs, keras.layers.Dense(1, name='out')(keras.layers.Flatten()(x)))
    model.compile(keras.optimizers.SGD(0.1), 'mse', jit_compile=False, **train)
    return model


@pytest.mark.parametrize('per_execution', [1, 4])
def test_averages_follow_the_formula(per_execution):
    model = toy(steps_per_execution=per_execution)
    model.attach(TrainingPlan(state=TrainingState(model, 0.9, ramp=False)))
    rng = np.random.default_rng(0)
    x, y = (
        rng.standard_normal((8, 16, 4)).astype(np.float32),
        rng.standard_normal((8, 16, 1)).astype(np.float32),
    )
    reference = toy()
    expected = [np.asarray(w) for w in reference.weights]
    for step in range(8):
        reference.train_on_batch(x[step], y[step])
        decay = min(0.9, (1 + step) / (10 + step))
        expected = [
            e * decay + np.asarray(w) * (1 - decay)
            for e, w in zip(expected, reference.weights, strict=True)
        ]
    model.fit(tf.data.Dataset.from_tensor_slices((x, y)), verbose=0)
    state = model.plan.state
    for name, average, wanted in zip(
        [w.name for w in state.variables], state.averages, expected, strict=True
    ):
        np.testing.assert_allclose(average, wanted, rtol=1e-5, atol=1e-6, err_msg=name)


def test_steps_in_one_call_train_as_single_ones():
    """The tiny detector with averages, batch-norm ramp and stochastic depth; to rounding, since
    the graphs are two."""
    trained = {}
    for per_execution in (1, 2):
        model = tiny.compiled(steps_per_execution=per_execution)
        before = tiny.values(model)
        model.fit(tiny.batches(4), epochs=2, verbose=0)
        trained[per_execution] = tiny.values(model)
    assert tiny.difference(trained[1], before) > 0.01 and any(
        name.startswith('average') for name in before
    )
    assert (
        tiny.difference(trained[2], trained[1]) < 1e-4
    )  # 1e-7 of noise in the images moves them by 2e-5


def test_ramped_statistics_follow_the_formula():
    model = toy()
    model.attach(TrainingPlan(state=TrainingState(model, 0.0, ramp=True)))
    rng = np.random.default_rng(0)
    mean, variance = np.zeros(4), np.ones(4)
    for step in range(5):
        x = rng.standard_normal((16, 4)).astype(np.float32) * 3 + 1
        model.fit(tf.data.Dataset.from_tensors((x, np.zeros((16, 1), np.float32))), verbose=0)
        momentum = min(0.99, (1 + step) / (10 + step))
        mean = momentum * mean + (1 - momentum) * x.mean(0)
        variance = momentum * variance + (1 - momentum) * x.var(0, ddof=1)
    layer = model.get_layer('bn')
    np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-4)


def test_swap_twice_is_identity_and_evaluation_sees_averages():
    model = toy()
    model.attach(TrainingPlan(state=TrainingState(model, 0.9, ramp=False)))
    model.fit(np.ones((32, 4), np.float32), np.ones((32, 1), np.float32), batch_size=8, verbose=0)
    raw = [np.array(w) for w in model.weights]
    model.plan.state.swap()
    assert any(not np.array_equal(a, np.array(w)) for a, w in zip(raw, model.weights, strict=True))
    model.plan.state.swap()
    assert all(np.array_equal(a, np.array(w)) for a, w in zip(raw, model.weights, strict=True))


def test_frozen_layers_keep_weights_and_statistics():
    model = toy()
    model.get_layer('bn').trainable = False
    model.compile(keras.optimizers.SGD(0.1), 'mse', jit_compile=False)
    model.attach(TrainingPlan(state=TrainingState(model, 0.9, ramp=True)))
    before = [np.array(w) for w in model.get_layer('bn').weights]
    model.fit(
        np.random.default_rng(0).standard_normal((32, 4)).astype(np.float32),
        np.ones((32, 1), np.float32),
        verbose=0,
    )
    assert all(
        np.array_equal(a, np.array(w))
        for a, w in zip(before, model.get_layer('bn').weights, strict=True)
    )


@pytest.mark.parametrize('frozen', ['', 'efficientnet-b0'])
def test_l2_is_the_official_sum_over_unfrozen_kernels(frozen):
    model = efficientdet(load_config('efficientdet-d0', {'image_size': 64, 'num_classes': 2}))
    load_official(
        model,
        official.seeded_weights(official_shapes(model), {'fpn_gain': 1.0, 'project_gain': 1.0}),
    )
    for layer in model.layers:
        layer.trainable = not (frozen and layer.name.startswith(frozen))
    kernels = [
        v
        for n, v in official_weights(model).items()
        if n.endswith('kernel') and not (frozen and n.startswith(frozen))
    ]
    wanted = sum(4e-5 * np.sum(v.astype(np.float64) ** 2) / 2 for v in kernels)
    assert float(tf.add_n(model.losses)) == pytest.approx(wanted, rel=1e-5)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A real `fit` of three epochs on twelve drawn pictures: (history, folder, config, records
    folder)."""
    from PIL import Image, ImageDraw

    from keras_efficientdet import fit, read_coco, write_records
    from keras_efficientdet.data.cache import label_overrides

    folder = tmp_path_factory.mktemp('fit')
    rng, images, annotations = np.random.default_rng(0), [], []
    for i in range(12):
        picture = Image.new('RGB', (96, 96), 'gray')
        x, y = (int(v) for v in rng.integers(4, 50, 2))
        ImageDraw.Draw(picture).rectangle((x, y, x + 39, y + 39), fill=('red', 'blue')[i % 2])
        picture.save(folder / f'{i}.png')
        images.append({'id': i, 'file_name': f'{i}.png', 'width': 96, 'height': 96})
        annotations.append(
            {
                'id': i,
                'image_id': i,
                'category_id': (7, 30)[i % 2],
                'bbox': [x, y, 40, 40],
                'area': 1600,
            }
        )
    content = {
        'images': images,
        'annotations': annotations,
        'categories': [{'id': 30, 'name': 'blue'}, {'id': 7, 'name': 'red'}],
    }
    (folder / 'coco.json').write_text(json.dumps(content))
    write_records(read_coco(folder / 'coco.json', folder), folder / 'records', progress=False)
    config = load_config(
        'efficientdet-lite0',
        [
            label_overrides(folder / 'records'),
            {
                'image_size': 96,
                'batch_size': 4,
                'num_epochs': 3,
                'optimizer': 'adam',
                'fpn_cell_repeats': 1,
                'jitter_min': 1.0,
                'jitter_max': 1.0,
                'freeze': ['/stem/'],
            },
        ],
    )
    weights = official_weights(
        efficientdet(load_config(config, {'model': {'num_classes': 5, 'label_map': None}}))
    )
    np.save(folder / 'stem.npy', weights[STEM])
    stopped = keras.callbacks.EarlyStopping(monitor='val_AP', mode='max', patience=10)
    theirs = keras.callbacks.CSVLogger(str(folder / 'theirs.csv'))
    history = fit(
        config,
        folder / 'records',
        folder / 'records',
        folder / 'run',
        weights=weights,
        callbacks=[stopped, theirs],
    )
    return history, folder / 'run', config, folder / 'records', stopped


def test_fit_logs_ap_for_other_callbacks_and_files(trained):
    history, run, _, _, stopped = trained
    assert len(history.history['val_AP']) == 3 and np.all(np.isfinite(history.history['val_AP']))
    assert (
        len(history.history['val_loss']) == 3
        and history.history['loss'][-1] < history.history['loss'][0]
    )
    assert stopped.best == max(history.history['val_AP'])
    rows = list(csv.DictReader((run / 'log.csv').open()))
    assert [float(r['val_AP']) for r in rows] == pytest.approx(history.history['val_AP'])
    assert list(run.glob('logs/**/events*'))


def test_fit_starts_from_weights_of_other_classes(trained):
    """They know five classes, the data two; the frozen stem is still theirs."""
    history, run, *_ = trained
    np.testing.assert_array_equal(
        official_weights(history.model)[STEM], np.load(run.parent / 'stem.npy')
    )


def test_keras_own_logger_writes_what_ours_writes(trained):
    run = trained[1]
    ours, theirs = (
        list(csv.DictReader(path.open())) for path in (run / 'log.csv', run.parent / 'theirs.csv')
    )
    assert len(ours) == 3 and {'loss', 'val_loss', 'val_AP', 'val_AP50', 'learning_rate'} <= set(
        ours[0]
    ) == set(theirs[0])
    for name in set(ours[0]) - {'epoch'}:
        assert [float(r[name]) for r in ours] == pytest.approx(
            [float(r[name]) for r in theirs], nan_ok=True
        ), name


def test_the_logged_learning_rate_is_that_of_the_last_step(trained):
    from keras_efficientdet.training.schedules import learning_rate

    history, _, config, *_ = trained
    schedule = learning_rate(config.train, 3)  # 12 pictures in batches of 4
    assert history.history['learning_rate'] == pytest.approx(
        [float(schedule(step)) for step in (2, 5, 8)], rel=1e-6
    )


def events(folder):
    """{tag: {step: value}} of the event files of a TensorBoard run."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    found = {}
    for path in sorted(folder.glob('events*')):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = tf.make_ndarray(value.tensor)
    return found


def test_tensorboard_shows_figures_and_pictures(trained):
    history, run, *_ = trained
    scalars = events(run / 'logs' / 'validation')
    for name in ('AP', 'AP50', 'loss'):
        assert [float(scalars[f'epoch_{name}'][e]) for e in range(3)] == pytest.approx(
            history.history[f'val_{name}'], rel=1e-5
        )
    pictures = events(run / 'logs' / 'pictures')
    assert set(pictures) == {f'validation/{i}' for i in range(4)}
    for steps in pictures.values():
        assert set(steps) == {0, 1, 2}
        for width, height, encoded in steps.values():
            assert (int(width), int(height)) == (96, 96)
            assert (
                np.all(tf.io.decode_png(encoded).numpy() == 255, -1).sum() > 50
            )  # the outline of the truth


def test_fit_reports_on_the_best_weights(trained):
    history, run, *_ = trained
    page = (run / 'report' / 'report.html').read_text()
    assert f'<td class="number">{max(history.history["val_AP"]):.3f}</td>' in page
    assert 'Learning curves' in page and 'trained on' in page


def test_the_log_has_a_row_per_epoch_and_cells_where_there_is_a_figure(tmp_path):
    log = CsvLog(tmp_path / 'log.csv')
    for epoch, logs in enumerate(({'loss': 3.0}, {'loss': 2.0, 'val_AP': 0.5}, {'loss': 1.0})):
        log.on_epoch_end(epoch, logs)
    assert (tmp_path / 'log.csv').read_text().split() == [
        'epoch,loss,val_AP',
        '1,3.0,',
        '2,2.0,0.5',
        '3,1.0,',
    ]


def test_fit_leaves_weights_that_load(trained):
    from keras_efficientdet import dataset, evaluate
    from keras_efficientdet.training import load_trained

    history, run, config, records, _ = trained
    best = load_trained(run)
    assert best.detection_config == config
    figures = evaluate(best, dataset(records, config, training=False), progress=False)
    assert figures['AP'] == pytest.approx(max(history.history['val_AP']), abs=1e-6)
    last = load_trained(run, 'last.weights.h5')
    assert all(
        np.array_equal(a, b)
        for a, b in zip(last.get_weights(), history.model.get_weights(), strict=True)
    )
    assert not list(run.glob('writing*'))
    with pytest.raises(FileNotFoundError, match=r'config\.yaml'):
        load_trained(run / 'nowhere')


def test_val_loss_is_that_of_the_averages(trained):
    from keras_efficientdet.data.pipeline import validation_dataset

    history, run, config, records, _ = trained
    from keras_efficientdet.training import load_trained

    model = load_trained(run, 'last.weights.h5')
    compile_for_training(model, config, 3)
    result = model.evaluate(validation_dataset(records, config), verbose=0, return_dict=True)
    assert result['loss'] == pytest.approx(history.history['val_loss'][-1], rel=1e-4)
    assert not math.isnan(result['loss'])


def test_fit_leaves_no_folder_where_the_doctor_refuses_the_data(tmp_path):
    from keras_efficientdet import DataError, fit

    records = drawn.records(tmp_path / 'records', [(64, 80, [])] * 4)
    with pytest.raises(DataError, match='no box'):
        fit(little_config(records), records, records, tmp_path / 'run')
    assert not (tmp_path / 'run').exists()
