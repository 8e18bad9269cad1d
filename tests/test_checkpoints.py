"""Official weights in: complete or not at all."""
import tarfile

import numpy as np
import official
import pytest
import tensorflow as tf

from keras_efficientdet import CheckpointError, efficientdet, load_config, load_official
from keras_efficientdet.checkpoints import load_backbone, official_shapes, official_weights
from keras_efficientdet.pretrained import imagenet_backbone

RULE = {'fpn_gain': 1.0, 'project_gain': 1.0}


@pytest.fixture(scope='module')
def small():
    return efficientdet(load_config('efficientdet-d0', {'image_size': 64, 'num_classes': 3}))


@pytest.fixture
def weights(small):
    return official.seeded_weights(official_shapes(small), RULE)


def checkpoint(name, folder):
    archive = official.path(f'ckpt/{name}.tf1.tar.xz')
    if archive is None:
        pytest.skip('the official checkpoints are not here')
    with tarfile.open(archive) as tar:
        tar.extractall(folder)
    return folder / name


@pytest.mark.parametrize('name', ['efficientdet-d0', 'efficientdet-lite0'])
@pytest.mark.parametrize('kind', ['ema', 'raw'])
def test_tf1_checkpoint_gives_the_official_outputs(tmp_path, name, kind):
    folder = checkpoint(name, tmp_path)
    golden = f'forward/{name.partition("-")[2]}_256_ckpt_{kind}.npz'
    model = efficientdet(load_config(name, {'image_size': 256}))
    report = load_official(model, folder, ema=kind == 'ema')
    assert (report.missing, report.unused, len(report.optimizer_state)) == ((), (), 4)
    assert len(report.averaged) == (len(report.loaded) if kind == 'ema' else 0)
    outputs = model(official.make_input(1, 256, 256, 0))
    differences = official.worst_difference(outputs, official.golden(golden), official.index(golden)['stats'],
                                            model.detection_config.model)
    assert max(differences.values()) < (2e-2 if 'lite' in name else 1e-3), differences


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


@pytest.mark.parametrize('change, words', [
    (lambda w: w.update({'class_net/class-0/biass': w.pop('class_net/class-0/bias')}),
     ['missing', 'class_net/class-0/bias', 'unknown', 'class_net/class-0/biass']),
    (lambda w: w.update(extra=np.zeros(1)), ['unknown', 'extra']),
    (lambda w: w.update({'resample_p6/bn/gamma': np.zeros(7, np.float32)}), ['resample_p6/bn/gamma', '(7,)', '(64,)']),
    (lambda w: w.update({'resample_p6/bn/gamma': np.full(64, np.nan, np.float32)}), ['not finite', 'resample_p6/bn/gamma']),
    (lambda w: w.update({'resample_p6/bn/gamma': np.zeros(64, np.int64)}), ['not finite numbers', 'resample_p6/bn/gamma']),
    (lambda w: w.clear(), ['missing']),
])
def test_wrong_weights_raise_and_leave_the_model_alone(small, weights, change, words):
    load_official(small, weights)
    before = official_weights(small)
    wrong = {k: v + 1 for k, v in weights.items()}
    change(wrong)
    with pytest.raises(CheckpointError) as caught:
        load_official(small, wrong)
    assert all(word in str(caught.value) for word in words), caught.value
    assert all(np.array_equal(before[k], v) for k, v in official_weights(small).items())


def test_a_renamed_variable_of_a_real_checkpoint_is_named(tmp_path):
    folder = checkpoint('efficientdet-d0', tmp_path)
    reader = tf.train.load_checkpoint(str(folder))
    values = {n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map()}
    for suffix in ('', official.EMA):
        values[f'box_net/box-1/BIAS{suffix}'] = values.pop(f'box_net/box-1/bias{suffix}')
    model = efficientdet(load_config('efficientdet-d0', {'image_size': 64}))
    with pytest.raises(CheckpointError, match='box_net/box-1/bias'):
        load_official(model, values)


@pytest.mark.parametrize('source, words', [('nowhere/model', 'no such checkpoint'), ('', 'directory without a checkpoint')])
def test_missing_checkpoints_say_what_was_looked_for(small, tmp_path, source, words):
    with pytest.raises(CheckpointError, match=words):
        load_official(small, tmp_path / source)


def test_another_number_of_classes(small, weights):
    shapes = official_shapes(small) | {'class_net/class-predict/pointwise_kernel': (1, 1, 64, 810),
                                       'class_net/class-predict/bias': (810,)}
    coco = official.seeded_weights(shapes, RULE)
    with pytest.raises(CheckpointError, match='reinit') as caught:
        load_official(small, coco)
    assert '810' in str(caught.value) and '27' in str(caught.value)
    report = load_official(small, coco, on_class_mismatch='reinit')
    assert report.reinitialised == ('class_net/class-predict/bias', 'class_net/class-predict/pointwise_kernel')
    ours = official_weights(small)
    np.testing.assert_allclose(ours['class_net/class-predict/bias'], -np.log(99.), rtol=1e-6)
    assert 0 < np.std(ours['class_net/class-predict/pointwise_kernel']) < 0.2
    for name in coco:
        if name not in report.reinitialised:
            np.testing.assert_array_equal(ours[name], coco[name], err_msg=name)


def test_wsm_edges_keep_their_order(small, weights):
    name = 'fpn_cells/cell_1/fnode4/WSM'
    weights.update({name: np.float32(0.25), f'{name}_1': np.float32(0.5), f'{name}_2': np.float32(0.75)})
    load_official(small, weights)
    layer = small.get_layer('fpn_cells.cell_1.fnode4')
    np.testing.assert_array_equal(layer.get_weights()[0], [0.25, 0.5, 0.75])


def test_backbone_needs_every_backbone_variable():
    model = efficientdet(load_config('efficientdet-lite0', {'image_size': 64}))
    shapes = {k: v for k, v in official_shapes(model).items() if k.startswith('efficientnet-lite0/')}
    values = official.seeded_weights(shapes, RULE) | {'efficientnet-lite0/head/dense/bias': np.zeros(1000, np.float32)}
    before = official_weights(model)
    assert load_backbone(model, values).unused == ('efficientnet-lite0/head/dense/bias',)
    after = official_weights(model)
    assert all(np.array_equal(after[k], values[k] if k in shapes else before[k]) for k in after)
    values.pop('efficientnet-lite0/stem/conv2d/kernel')
    with pytest.raises(CheckpointError, match='stem/conv2d/kernel'):
        load_backbone(model, values)
    with pytest.raises(CheckpointError, match='lite0 to lite2'):
        imagenet_backbone('efficientnet-b0')
