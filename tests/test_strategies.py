"""Trainings through `fit` under strategies, each in processes of its own (strategy_worker.py);
shares of the data."""

import json
import pathlib

import drawn
import numpy as np
import processes
import pytest
import tensorflow as tf
from little import little_config

from keras_efficientdet import ConfigError, compile_for_training, dataset, efficientdet
from keras_efficientdet.data import record_writer
from keras_efficientdet.data.pipeline import Share, training_stream
from keras_efficientdet.keras_compat import variable_path
from keras_efficientdet.training import strategies

SEVERAL = 'mirrored', 'multi_worker0', 'multi_worker1'
# Relative. Another formula of batch norm on one device moves the first loss by 1e-5, later ones by
# up to 1e-3, and ten steps'
# changes of the weights by 1e-2 in the median. A replica that counts twice would move them by 1.
FIRST, LAST, CHANGE = 1e-4, 5e-3, 0.1


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Twenty drawn pictures in five files: too few and too odd for two workers to share them by
    file."""
    return _records(tmp_path_factory.mktemp('five'), files=5)


def _records(folder, files):
    rng, photos = np.random.default_rng(0), []
    for i in range(20):
        x, y, width, height = (int(v) for v in (*rng.integers(2, 30, 2), *rng.integers(20, 50, 2)))
        photos.append((96, 96, [drawn.box(x, y, width, height, (1, 18, 400)[i % 3])]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_writer, 'PHOTOS_PER_SHARD', 20 // files)
        return drawn.records(folder, photos, noise=60.0)


@pytest.fixture(scope='module')
def run(folder, tmp_path_factory):
    """The function name -> (folder it worked in, losses and changes of weights and averages,
    logs, what it printed)."""
    out, done = tmp_path_factory.mktemp('runs'), {}
    weights = out / 'first.weights.h5'  # Keras 2 draws others under each strategy
    model = efficientdet(little_config(folder))
    model.save_weights(str(weights))
    start = {variable_path(v): np.asarray(v) for v in model.weights}

    def result(name):
        if name not in done:
            done.update(
                processes.run(
                    'strategy_worker.py',
                    name.rstrip('01'),
                    out / name.rstrip('01'),
                    folder,
                    weights,
                )
            )
        path = done[name]
        arrays = {
            k: v - start[k.partition('/')[2]] if k != 'losses' else v
            for k, v in np.load(f'{path}.npz').items()
        }
        return (
            out / f'{name}-run',
            arrays,
            json.loads(pathlib.Path(f'{path}.json').read_text()),
            pathlib.Path(f'{path}.txt').read_text(),
        )

    return result


@pytest.mark.slow
@pytest.mark.parametrize('name', SEVERAL)
def test_a_training_that_breaks_off_under_a_strategy_equals_one_on_one_device(run, name):
    """Ten augmented steps through `fit`; L2 is most of the loss here, so that counting it per
    replica shows."""
    assert 'continues after epoch 3 of 5' in run(name)[3]
    one, several = run('one')[1], run(name)[1]
    assert one['losses'].shape == several['losses'].shape == (10, 3)
    differences = np.max(np.abs(several['losses'] / one['losses'] - 1.0), 1)
    print(f'{name}, losses:', *(f'{d:.0e}' for d in differences))
    assert differences[0] < FIRST and np.max(differences) < LAST, differences
    for kind in ('weight', 'average'):
        found = [
            np.max(np.abs(several[k] - v)) / max(np.max(np.abs(v)), 1e-9)
            for k, v in one.items()
            if k.startswith(kind)
        ]
        print(f'{name}, change of {kind}s: {np.median(found):.1e} in the median')
        assert (
            len(found) > 100 and np.median(found) < CHANGE and np.quantile(found, 0.9) < 5 * CHANGE
        ), sorted(found)
    moved = [
        (np.max(np.abs(w)), np.max(np.abs(w - one[k.replace('weight/', 'average/', 1)])))
        for k, w in one.items()
        if k.startswith('weight/')
    ]
    assert np.all(
        np.median(moved, 0) > 1e-6
    )  # else equal changes would say nothing, and equal averages neither


@pytest.mark.slow
@pytest.mark.parametrize('name', ['mirrored', 'multi_worker0'])
def test_every_worker_logs_the_same_evaluation(run, name):
    one, several = run('one')[2], run(name)[2]
    assert set(one) == set(several) > {'val_AP', 'val_AP50', 'val_loss'}
    assert several['val_loss'] == pytest.approx(one['val_loss'], rel=LAST)
    assert several['val_AP'] == pytest.approx(one['val_AP'], abs=1e-2)
    if name == 'multi_worker0':
        assert {
            k: pytest.approx(v, nan_ok=True) for k, v in run('multi_worker1')[2].items()
        } == several


@pytest.mark.slow
def test_only_the_chief_writes(run):
    for name in ('one', 'mirrored', 'multi_worker0'):
        assert {'best.weights.h5', 'last.weights.h5', 'config.yaml', 'log.csv'} <= {
            p.name for p in run(name)[0].iterdir()
        }
    assert not run('multi_worker1')[0].exists()


@pytest.mark.slow
@pytest.mark.parametrize('name', ['mirrored', 'multi_worker0'])
def test_what_is_chosen_is_said(run, name):
    assert f'strategy: {name.removesuffix("0")} (as requested), 2 replicas' in run(name)[3]
    assert ('5 files for 2 workers: distributed by example' in run(name)[3]) == (name != 'mirrored')


def _environment(patch, **variables):
    for name in ('TF_CONFIG', 'TPU_NAME', 'COLAB_TPU_ADDR'):
        patch.delenv(name, raising=False)
    for name, value in variables.items():
        patch.setenv(name, value)


TWO = json.dumps({'cluster': {'worker': ['a:1', 'b:1']}, 'task': {'type': 'worker', 'index': 0}})
ALONE = json.dumps({'cluster': {'worker': ['a:1']}, 'task': {'type': 'worker', 'index': 0}})


@pytest.mark.parametrize(
    ('variables', 'name', 'reason'),
    [
        ({'TF_CONFIG': TWO, 'TPU_NAME': 't'}, 'multi_worker', 'TF_CONFIG names 2 workers'),
        ({'TPU_NAME': 'local'}, 'tpu', 'TPU_NAME is set'),
        ({'COLAB_TPU_ADDR': '1.2.3.4:8470'}, 'tpu', 'COLAB_TPU_ADDR is set'),
        ({'TF_CONFIG': ALONE}, 'one', '0 GPUs, no TPU, no TF_CONFIG with several workers'),
        ({}, 'one', '0 GPUs'),
    ],
)
def test_auto_decides_by_the_environment(monkeypatch, variables, name, reason):
    if tf.config.list_physical_devices('GPU'):
        pytest.skip('the table is that of a machine without GPU')
    _environment(monkeypatch, **variables)
    found, why = strategies._fitting()
    assert found == name and why.startswith(reason)


def test_one_device_is_named_with_its_reason(monkeypatch, caplog):
    caplog.set_level('INFO')
    _environment(monkeypatch)
    assert strategies.strategy_for().num_replicas_in_sync == 1
    assert caplog.messages[0].startswith('strategy: ')


@pytest.mark.parametrize(
    ('name', 'variables', 'message'),
    [
        ('horovod', {}, "'horovod': expected auto, one, mirrored, multi_worker, tpu"),
        ('multi_worker', {}, 'TF_CONFIG lists no workers'),
        ('multi_worker', {'TF_CONFIG': '{cluster'}, 'TF_CONFIG is not valid json'),
        ('tpu', {}, "no TPU at 'local'"),
    ],
)
def test_a_strategy_that_cannot_be_is_an_error_that_says_why(monkeypatch, name, variables, message):
    _environment(monkeypatch, **variables)
    with pytest.raises(ConfigError, match=message):
        strategies.strategy_for(name)


def _plain(folder, **more):
    """Pictures as they are, so that they can be told apart."""
    return little_config(
        folder, {'jitter_min': 1.0, 'jitter_max': 1.0, 'input_rand_hflip': False, **more}
    )


def _pictures(batches):
    """The sum of each image, sorted: which examples they are, whatever their order."""
    return np.sort(
        np.concatenate([np.sum(b[0].numpy().astype(np.float64), (1, 2, 3)) for b in batches])
    )


@pytest.mark.parametrize(('files', 'by_file'), [(5, False), (4, True)])
def test_workers_share_an_epoch_out(tmp_path, files, by_file):
    folder = _records(tmp_path, files)
    config = _plain(folder)
    assert strategies._by_file(folder, config, 2) == by_file
    whole = dataset(folder, config, training=True)
    parts = [
        training_stream(folder, config, 0, Share(2, worker, 4, by_file)).take(10)
        for worker in (0, 1)
    ]
    assert {len(b[0]) for part in parts for b in part} == {1}
    np.testing.assert_allclose(_pictures([*parts[0], *parts[1]]), _pictures(whole))


def _served(workers):
    """(a dispatcher and so many workers in this process, their address): all data go through
    their sockets."""
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer()
    address = dispatcher.target.split('://')[1]
    return [
        dispatcher,
        *(service.WorkerServer(service.WorkerConfig(address)) for _ in range(workers)),
    ], dispatcher.target


def test_a_data_service_delivers_each_example_once_an_epoch(folder):
    servers, target = _served(2)
    served = dataset(folder, _plain(folder, data_service=target), training=True)
    expected = _pictures(dataset(folder, _plain(folder), training=True))
    assert len(servers) == 3 and len(expected) == 20 and len(np.unique(expected)) == 20
    for _ in range(2):
        np.testing.assert_allclose(_pictures(served), expected)


def test_one_worker_of_a_data_service_gives_the_stream_as_it_is(folder):
    """In order, batch by batch, over the end of an epoch; and again for a second reader, as `fit`
    may be."""
    servers, target = _served(1)
    expected = training_stream(folder, little_config(folder), 0).take(7)
    for _ in range(2):
        stream = training_stream(folder, little_config(folder, {'data_service': target}), 0).take(7)
        for found, wanted in zip(stream, expected, strict=True):
            tf.nest.map_structure(np.testing.assert_array_equal, found, wanted)
    assert len(servers) == 2


def test_trainers_that_share_by_file_get_their_own_files_from_a_data_service(tmp_path):
    folder = _records(tmp_path, 4)
    servers, target = _served(1)
    shares = [Share(2, worker, 2, True) for worker in (0, 1)]
    readers = [
        iter(training_stream(folder, _plain(folder, data_service=target), 0, share))
        for share in shares
    ]
    found = [[next(reader) for _ in range(5)] for reader in readers]
    for batches, share in zip(found, shares, strict=True):
        np.testing.assert_allclose(
            _pictures(batches), _pictures(training_stream(folder, _plain(folder), 0, share).take(5))
        )
    assert len(servers) == 2


def test_a_data_service_wants_a_file_for_each_worker(folder):
    with pytest.raises(ConfigError, match='5 files for 2 workers'):
        strategies._by_file(folder, _plain(folder, data_service='grpc://localhost:1'), 2)


@pytest.fixture(scope='module')
def step(folder):
    """(the train step of a little model, its data): what a TPU would be given."""
    config = little_config(folder)
    model = efficientdet(config)
    compile_for_training(model, config, 5)
    model.optimizer.build(model.trainable_variables)
    return model, dataset(folder, config, training=True)


def test_every_tensor_of_the_training_step_has_a_static_shape(step):
    model, data = step
    traced = tf.function(
        lambda *batch: model.train_step(batch), autograph=False
    ).get_concrete_function(*data.element_spec)
    graphs = [
        traced.graph,
        *(f.graph for f in traced.graph._functions.values() if hasattr(f, 'graph')),
    ]
    tensors = [
        t
        for graph in graphs
        for op in graph.get_operations()
        for t in op.outputs
        if t.dtype not in (tf.resource, tf.variant)
        and not t.op.type.startswith(('FusedBatchNorm', 'ZerosLike'))
    ]
    assert len(tensors) > 1000
    assert [t.op.type for t in tensors if not t.shape.is_fully_defined()] == []
