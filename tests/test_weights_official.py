"""Official weights in: complete or not at all."""

import tarfile

import numpy as np
import official
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from keras_efficientdet import (
    CheckpointError,
    efficientdet,
    load_config,
    load_official,
    save_official,
)
from keras_efficientdet.weights.files import read_checkpoint, write_checkpoint
from keras_efficientdet.weights.imagenet import imagenet_backbone
from keras_efficientdet.weights.official import load_backbone, official_shapes, official_weights

RULE = {'fpn_gain': 1.0, 'project_gain': 1.0}


@pytest.fixture(scope='module')
def small():
    return efficientdet(load_config('efficientdet-d0', {'image_size': 64, 'num_classes': 3}))


@pytest.fixture
def weights(small):
    return official.seeded_weights(official_shapes(small), RULE)


@pytest.fixture(scope='module')
def at_256():
    return {
        name: efficientdet(load_config(name, {'image_size': 256}))
        for name in ('efficientdet-d0', 'efficientdet-lite0')
    }


def archive(name, kind='tf1'):
    path = official.path(f'ckpt/{name}.{kind}.tar.xz')
    if path is None:
        pytest.skip('the official checkpoints are not here')
    return path


def checkpoint(name, folder):
    with tarfile.open(archive(name)) as tar:
        tar.extractall(folder)
    return folder / name


@pytest.mark.parametrize('name', ['efficientdet-d0', 'efficientdet-lite0'])
@pytest.mark.parametrize(
    ('kind', 'ema', 'recorded'),
    [('tf1', True, 'ema'), ('tf1', False, 'raw'), ('tf2', True, 'raw'), ('h5', True, 'raw')],
)
def test_official_checkpoints_give_the_official_outputs(at_256, name, kind, ema, recorded):
    golden = f'forward/{name.partition("-")[2]}_256_ckpt_{recorded}.npz'
    model = at_256[name]
    report = load_official(model, archive(name, kind), ema=ema)
    assert (report.missing, report.unused, len(report.loaded)) == (
        (),
        (),
        len(official_shapes(model)),
    )
    assert len(report.averaged) == (len(report.loaded) if recorded == 'ema' else 0)
    assert len(report.optimizer_state) == (4 if kind == 'tf1' else 0)
    outputs = model(official.make_input(1, 256, 256, 0))
    differences = official.worst_difference(
        outputs,
        official.golden(golden),
        official.index(golden)['stats'],
        model.detection_config.model,
    )
    assert max(differences.values()) < (2e-2 if 'lite' in name else 1e-3), differences


def test_the_recorded_outputs_notice_one_kernel_of_another_scale(at_256):
    values = read_checkpoint(archive('efficientdet-d0', 'h5'))
    values['box_net/box-0/pointwise_kernel'] = values['box_net/box-0/pointwise_kernel'] * 1.05
    model, golden = at_256['efficientdet-d0'], 'forward/d0_256_ckpt_raw.npz'
    load_official(model, values)
    differences = official.worst_difference(
        model(official.make_input(1, 256, 256, 0)),
        official.golden(golden),
        official.index(golden)['stats'],
        model.detection_config.model,
    )
    assert differences['box_3'] > 1e-2 > 1e-3 > differences['cls_3']


@pytest.mark.parametrize(
    ('ema', 'words'), [(True, '709 moving averages and 0 raw values'), (False, 'all raw values')]
)
def test_the_report_says_which_values_were_taken(at_256, ema, words):
    assert words in str(
        load_official(at_256['efficientdet-d0'], archive('efficientdet-d0'), ema=ema)
    )


def test_official_training_checkpoint(tmp_path, golden):
    model = efficientdet(load_config('efficientdet-d0', {'image_size': 64, 'num_classes': 5}))
    full = {
        key: name
        for key, _, name in golden('ckpt/efficientdet-d0.tf2_variables.json')['variables']
        if name
    }
    shapes = {
        key: shape
        for key, shape in golden('ckpt/official_train_emackpt_keys.json')
        if 'OBJECT_GRAPH' not in key
    }
    write_object_based(
        tmp_path / 'emackpt-7',
        full,
        {key: official.seeded_weight(key, shape) for key, shape in shapes.items()},
    )
    averaged, raw = (
        load_official(model, tmp_path),
        load_official(model, tmp_path / 'emackpt-7', ema=False),
    )
    assert (
        averaged.missing,
        averaged.unused,
        len(averaged.averaged),
        len(averaged.optimizer_state),
    ) == ((), (), 493, 493 + 3)
    assert (len(raw.loaded), len(raw.averaged), len(raw.optimizer_state)) == (709, 0, 493 + 3)
    key = next(key for key, name in full.items() if name == 'box_net/box-0/bias')
    slot = key.replace('/.ATTRIBUTES', '/.OPTIMIZER_SLOT/optimizer/average/.ATTRIBUTES')
    np.testing.assert_array_equal(
        official_weights(model)['box_net/box-0/bias'], official.seeded_weight(key, shapes[key])
    )
    load_official(model, tmp_path)
    np.testing.assert_array_equal(
        official_weights(model)['box_net/box-0/bias'], official.seeded_weight(slot, shapes[slot])
    )


def write_object_based(prefix, full_names, values):
    graph = TrackableObjectGraph()
    for key in values:
        graph.nodes.add().attributes.add(
            name='VARIABLE_VALUE', full_name=full_names.get(key, f'slot/{key}'), checkpoint_key=key
        )
    write_checkpoint(
        prefix,
        {**values, '_CHECKPOINTABLE_OBJECT_GRAPH': np.array(graph.SerializeToString(), object)},
    )


@pytest.mark.parametrize('averages', [False, True])
def test_saved_official_weights_come_back(tmp_path, at_256, golden, averages):
    model = at_256['efficientdet-d0']
    weights = official.seeded_weights(official_shapes(model), RULE)
    load_official(model, weights)
    shadows = {name: value + 1 for name, value in weights.items()} if averages else None
    save_official(model, tmp_path / 'model.ckpt-70', averages=shadows, global_step=70)
    listed = {name: tuple(shape) for name, shape in tf.train.list_variables(str(tmp_path))}
    wanted = {
        name.removesuffix(':0'): tuple(shape)
        for name, shape, _ in golden('names/efficientdet-d0.json')['keras']
    }
    shadowed = {name + official.EMA: shape for name, shape in wanted.items()} if averages else {}
    assert listed == {**wanted, **shadowed, 'global_step': ()}
    step = tf.train.load_variable(str(tmp_path), 'global_step')
    assert (step, step.dtype) == (70, np.int64)
    assert {p.name for p in tmp_path.iterdir()} == {
        'checkpoint',
        'model.ckpt-70.data-00000-of-00001',
        'model.ckpt-70.index',
    }
    for ema, offset in ((True, int(averages)), (False, 0)):
        assert load_official(model, tmp_path, ema=ema).optimizer_state == ('global_step',)
        assert all(
            np.array_equal(value, weights[name] + offset)
            for name, value in official_weights(model).items()
        )


def test_averages_that_do_not_fit_are_not_saved(tmp_path, small, weights):
    weights.pop('box_net/box-0/bias')
    with pytest.raises(CheckpointError, match=r'averages does not fit .*box_net/box-0/bias'):
        save_official(small, tmp_path / 'model', averages=weights)
    assert not list(tmp_path.iterdir())


def test_averages_and_raw_values_differ(tmp_path):
    folder = checkpoint('efficientdet-d0', tmp_path)
    model = efficientdet(load_config('efficientdet-d0', {'image_size': 64}))
    load_official(model, folder)
    averaged = official_weights(model)
    load_official(model, folder, ema=False)
    assert any(not np.array_equal(averaged[k], v) for k, v in official_weights(model).items())


def test_prefix_and_directory_are_the_same_checkpoint(tmp_path, small):
    folder = checkpoint('efficientdet-d0', tmp_path)
    model = efficientdet(load_config('efficientdet-d0', {'image_size': 64}))
    first = load_official(model, folder)
    second = load_official(model, folder / 'model')
    assert first.loaded == second.loaded


def test_round_trip_through_official_names(small, weights):
    report = load_official(small, weights)
    assert len(report.loaded) == len(weights)
    for name, value in official_weights(small).items():
        np.testing.assert_array_equal(value, weights[name], err_msg=name)


def changed(change):
    """A maker of a source: a TF1 checkpoint of seeded weights after `change`."""

    def make(folder, weights):
        change(weights)
        write_checkpoint(folder / 'model', weights)
        return folder

    return make


def cut_off(folder, weights):
    write_checkpoint(folder / 'model', weights)
    data = folder / 'model.data-00000-of-00001'
    data.write_bytes(data.read_bytes()[:-1000])
    return folder


def leading_out(folder, weights):
    with tarfile.open(folder / 'evil.tar.gz', 'w:gz') as tar:
        tar.addfile(tarfile.TarInfo('../evil'))
    return folder / 'evil.tar.gz'


def no_h5(folder, weights):
    (folder / 'model.h5').write_text('not an h5')
    return folder / 'model.h5'


def of_d1(folder, weights):
    names = official.golden('names/efficientdet-d1.json') or pytest.skip(
        'the official names are not here'
    )
    shapes = {name.removesuffix(':0'): shape for name, shape, _ in names['keras']}
    write_checkpoint(
        folder / 'model', {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    )
    return folder


GAMMA = 'resample_p6/bn/gamma'
COCO = {
    'class_net/class-predict/pointwise_kernel': (1, 1, 64, 810),
    'class_net/class-predict/bias': (810,),
}
WRONG = {
    'missing file': (
        lambda folder, _: folder / 'nowhere.tar.gz',
        ['nowhere.tar.gz', 'no such checkpoint'],
    ),
    'data file cut off': (cut_off, ['model', 'cannot be read as a TensorFlow checkpoint']),
    'archive leads out': (leading_out, ['evil.tar.gz', "'../evil'", 'refused']),
    'weights of D1': (
        of_d1,
        [
            'unknown to the model',
            'efficientnet-b1/',
            'missing',
            'efficientnet-b0/',
            '(88,)',
            '(64,)',
        ],
    ),
    'classes of COCO': (
        changed(lambda w: w.update({k: np.zeros(v, np.float32) for k, v in COCO.items()})),
        ['class-predict', '(810,)', '(27,)', 'reinit'],
    ),
    'renamed variable': (
        changed(lambda w: w.update({f'{GAMMA}s': w.pop(GAMMA)})),
        ['missing', GAMMA, 'unknown', f'{GAMMA}s'],
    ),
    'extra variable': (changed(lambda w: w.update(extra=np.zeros(1))), ['unknown', 'extra']),
    'wrong shape': (
        changed(lambda w: w.update({GAMMA: np.zeros(7, np.float32)})),
        [GAMMA, '(7,)', '(64,)'],
    ),
    'wrong dtype': (
        changed(lambda w: w.update({GAMMA: np.zeros(64, np.int64)})),
        ['dtype', f'{GAMMA} is int64', 'float32'],
    ),
    'NaN': (
        changed(lambda w: w.update({GAMMA: np.full(64, np.nan, np.float32)})),
        ['infinite or NaN', GAMMA],
    ),
    'empty directory': (
        lambda folder, _: folder,
        ['expected one checkpoint', 'found nothing'],
    ),
    'no h5': (no_h5, ['model.h5', 'not an HDF5 file']),
}


@pytest.mark.parametrize('kind', WRONG)
def test_wrong_sources_raise_and_leave_the_model_alone(small, weights, tmp_path, kind):
    make, words = WRONG[kind]
    load_official(small, weights)
    source = make(tmp_path, {k: v + 1 for k, v in weights.items()})
    with pytest.raises(CheckpointError) as caught:
        load_official(small, source)
    assert all(word in str(caught.value) for word in words), caught.value
    after = official_weights(small)
    assert all(np.array_equal(value, weights[name]) for name, value in after.items())


def test_a_renamed_variable_of_a_real_checkpoint_is_named(tmp_path):
    folder = checkpoint('efficientdet-d0', tmp_path)
    reader = tf.train.load_checkpoint(str(folder))
    values = {n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map()}
    for suffix in ('', official.EMA):
        values[f'box_net/box-1/BIAS{suffix}'] = values.pop(f'box_net/box-1/bias{suffix}')
    model = efficientdet(load_config('efficientdet-d0', {'image_size': 64}))
    with pytest.raises(CheckpointError, match='box_net/box-1/bias'):
        load_official(model, values)


def test_a_missing_prefix_says_what_was_looked_for(small, tmp_path):
    with pytest.raises(CheckpointError, match='no such checkpoint; give the prefix'):
        load_official(small, tmp_path / 'nowhere/model')


def test_another_number_of_classes(small, weights):
    coco = official.seeded_weights(official_shapes(small) | COCO, RULE)
    with pytest.raises(CheckpointError, match='reinit') as caught:
        load_official(small, coco)
    assert '810' in str(caught.value) and '27' in str(caught.value)
    report = load_official(small, coco, on_class_mismatch='reinit')
    assert report.reinitialised == (
        'class_net/class-predict/bias',
        'class_net/class-predict/pointwise_kernel',
    )
    ours = official_weights(small)
    np.testing.assert_allclose(ours['class_net/class-predict/bias'], -np.log(99.0), rtol=1e-6)
    assert 0 < np.std(ours['class_net/class-predict/pointwise_kernel']) < 0.2
    for name in coco:
        if name not in report.reinitialised:
            np.testing.assert_array_equal(ours[name], coco[name], err_msg=name)


def test_fine_tuning_keeps_all_of_an_archive_but_class_predict(small):
    report = load_official(small, archive('efficientdet-d0'), on_class_mismatch='reinit')
    assert (report.missing, report.unused, len(report.reinitialised), len(report.averaged)) == (
        (),
        (),
        2,
        709 - 2,
    )
    ours = official_weights(small)
    for name, value in read_checkpoint(archive('efficientdet-d0')).items():
        plain = name.removesuffix(official.EMA)
        if plain != name and plain not in report.reinitialised:
            np.testing.assert_array_equal(ours[plain], value, err_msg=name)


def test_wsm_edges_keep_their_order(small, weights):
    name = 'fpn_cells/cell_1/fnode4/WSM'
    weights.update(
        {name: np.float32(0.25), f'{name}_1': np.float32(0.5), f'{name}_2': np.float32(0.75)}
    )
    load_official(small, weights)
    layer = small.get_layer('fpn_cells.cell_1.fnode4')
    np.testing.assert_array_equal(layer.get_weights()[0], [0.25, 0.5, 0.75])


def test_backbone_needs_every_backbone_variable():
    model = efficientdet(load_config('efficientdet-lite0', {'image_size': 64}))
    shapes = {
        k: v for k, v in official_shapes(model).items() if k.startswith('efficientnet-lite0/')
    }
    values = official.seeded_weights(shapes, RULE) | {
        'efficientnet-lite0/head/dense/bias': np.zeros(1000, np.float32)
    }
    before = official_weights(model)
    assert load_backbone(model, values).unused == ('efficientnet-lite0/head/dense/bias',)
    after = official_weights(model)
    assert all(np.array_equal(after[k], values[k] if k in shapes else before[k]) for k in after)
    values.pop('efficientnet-lite0/stem/conv2d/kernel')
    with pytest.raises(CheckpointError, match='stem/conv2d/kernel'):
        load_backbone(model, values)
    with pytest.raises(CheckpointError, match='lite0 to lite2'):
        imagenet_backbone('efficientnet-b8')
