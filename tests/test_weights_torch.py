"""PyTorch's EfficientDets: names, formats of files, and equal outputs in both directions.

The tests with PyTorch itself run it in an environment of its own, whose Python is named by
KERAS_EFFICIENTDET_TORCH (`make test-torch`). The others read files that PyTorch wrote (goldens).
"""

import gzip
import json
import os
import pathlib
import subprocess
import zipfile

import numpy as np
import official
import pytest

from keras_efficientdet import CheckpointError, efficientdet, load_config, save_torch
from keras_efficientdet.weights.official import (
    levels_of,
    load_official,
    official_shapes,
    official_weights,
)
from keras_efficientdet.weights.torch_dialects import EFFDET, YET_ANOTHER
from keras_efficientdet.weights.torch_files import read_torch
from keras_efficientdet.weights.torch_names import places
from keras_efficientdet.weights.torch_writer import write_torch

GOLDENS = pathlib.Path(official.SLICES) / 'torch'
PROGRAM = pathlib.Path(__file__).with_name('torch_models.py')
TORCH = os.environ.get('KERAS_EFFICIENTDET_TORCH')
NAMES = {
    'efficientdet-d0': 'tf_efficientdet_d0',
    'efficientdet-d1': 'tf_efficientdet_d1',
    'efficientdet-lite0': 'tf_efficientdet_lite0',
    'efficientdet-d7x': 'tf_efficientdet_d7x',
}


@pytest.fixture(scope='module')
def effdet_names():
    """{effdet's name of a model: {key: shape}}, from the state dicts of effdet 0.4.1."""
    return json.loads(gzip.decompress((GOLDENS / 'effdet_names.json.gz').read_bytes()))


@pytest.fixture(scope='module')
def lite0():
    """A small network with every kind of layer but squeeze and excitation; drawn weights."""
    settings = {'image_size': 64, 'num_classes': 7, 'fpn_weight_method': 'fastattn'}
    model = efficientdet(load_config('efficientdet-lite0', settings))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=v.shape).astype(np.float32) for v in model.get_weights()])
    return model


@pytest.fixture(scope='module')
def other(lite0):
    return efficientdet(lite0.detection_config)


def renamed(model, dialect):
    """The weights of a model as a state dict of a program, written out the long way."""
    values, tensors = official_weights(model), {}
    for name, place in places(dialect, official_shapes(model), levels_of(model)).items():
        value = values[name]
        if place.edge is not None:
            tensors.setdefault(place.key, []).append(value)
        elif name.endswith('depthwise_kernel'):
            tensors[place.key] = np.einsum('hwco->cohw', value)
        elif value.ndim == 4:
            tensors[place.key] = np.einsum('hwio->oihw', value)
        else:
            tensors[place.key] = value
    return {key: np.array(value) for key, value in tensors.items()}


def assert_same_weights(model, other):
    expected, found = official_weights(model), official_weights(other)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


# ---- names ----


@pytest.mark.parametrize(
    'name',
    [
        'efficientdet-d0',
        'efficientdet-lite0',
        pytest.param('efficientdet-d7x', marks=pytest.mark.slow),
    ],
)
def test_every_name_and_shape_is_that_of_effdet(name, effdet_names, tmp_path):
    model = efficientdet(load_config(name, {'image_size': 256}))
    save_torch(model, tmp_path / 'model.pth')
    found = {key: list(value.shape) for key, value in read_torch(tmp_path / 'model.pth').items()}
    assert found == effdet_names[NAMES[name]]


def test_names_of_the_other_program():
    """Keys and shapes that its users quote (issues 215, 354, 590 and 720 of its repository)."""
    model = efficientdet(load_config('efficientdet-d2', {'image_size': 128}))
    tensors = renamed(model, YET_ANOTHER)
    published = {
        'backbone_net.model._conv_stem.conv.weight': (32, 3, 3, 3),
        'bifpn.0.p6_w1': (2,),
        'bifpn.4.p4_w2': (3,),
        'bifpn.0.p7_w2': (2,),
        'bifpn.0.p4_down_channel.0.conv.bias': (112,),
        'bifpn.0.p4_down_channel.1.running_mean': (112,),
        'bifpn.0.p3_down_channel.0.conv.weight': (112, 48, 1, 1),
        'bifpn.2.conv4_down.bn.running_var': (112,),
        'bifpn.2.conv5_down.depthwise_conv.conv.weight': (112, 1, 3, 3),
        'bifpn.0.conv7_down.pointwise_conv.conv.bias': (112,),
        'bifpn.1.conv6_up.pointwise_conv.conv.bias': (112,),
        'regressor.conv_list.0.depthwise_conv.conv.weight': (112, 1, 3, 3),
        'classifier.header.pointwise_conv.conv.weight': (810, 112, 1, 1),
        'classifier.header.pointwise_conv.conv.bias': (810,),
    }
    assert {key: tensors[key].shape for key in published} == published
    assert 'backbone_net.model._blocks.1._expand_conv.conv.weight' not in tensors
    assert 'backbone_net.model._blocks.2._expand_conv.conv.weight' in tensors
    fusions = {0: 'p6_w1', 1: 'p5_w1', 3: 'p3_w1', 4: 'p4_w2', 6: 'p6_w2', 7: 'p7_w2'}
    keys = places(YET_ANOTHER, official_shapes(model), levels_of(model))
    for node, key in fusions.items():
        assert keys[f'fpn_cells/cell_1/fnode{node}/WSM_1'] == (f'bifpn.1.{key}', None, 1)
    nodes = ('6_up', '5_up', '4_up', '3_up', '4_down', '5_down', '6_down', '7_down')
    for i in range(5):
        assert all(f'bifpn.{i}.conv{node}.bn.weight' in tensors for node in nodes)


@pytest.mark.parametrize('dialect', [EFFDET, YET_ANOTHER], ids=['effdet', 'other'])
@pytest.mark.parametrize('wrapping', ['', 'module.', 'model.'])
def test_all_weights_come_back(lite0, other, dialect, wrapping, tmp_path):
    tensors = {wrapping + key: value for key, value in renamed(lite0, dialect).items()}
    write_torch(tmp_path / 'model.pth', tensors)
    other.set_weights([np.zeros_like(value) for value in other.get_weights()])
    report = load_official(other, tmp_path / 'model.pth')
    assert not report.missing and not report.unused
    assert_same_weights(lite0, other)


def test_fusion_weights_of_networks_without_them_are_ignored(tmp_path):
    model = efficientdet(
        load_config('efficientdet-d0', {'image_size': 128, 'fpn_weight_method': 'sum'})
    )
    tensors = {**renamed(model, YET_ANOTHER), 'bifpn.0.p6_w1': np.ones(2, np.float32)}
    write_torch(tmp_path / 'model.pth', tensors)
    load_official(model, tmp_path / 'model.pth')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            {'fpn.extra.weight': np.zeros(3, np.float32)},
            r'unknown to the model: fpn\.extra\.weight',
        ),
        (
            {'backbone.bn1.weight': None},
            r'missing in it: efficientnet-lite0/stem/tpu_batch.*/gamma',
        ),
        ({'backbone.bn1.weight': np.zeros(3, np.float32)}, r'gamma is \(3,\), .* expects \(32,\)'),
        ({'class_net.predict.conv_pw.bias': np.zeros(9, np.float32)}, 'another number of classes'),
        (
            {'box_net.predict.conv_pw.weight': np.zeros(9, np.float32)},
            r'pointwise_kernel is \(9,\)',
        ),
        ({'fpn.cell.0.fnode.0.combine.edge_weights': np.ones(1, np.float32)}, 'fnode0/WSM_1'),
        ({'backbone.conv_stem.weight': None}, 'neither effdet nor Yet-Another'),
    ],
)
def test_what_does_not_fit_is_named(lite0, other, change, message, tmp_path):
    tensors = {**renamed(lite0, EFFDET), **change}
    path = tmp_path / 'model.pth'
    write_torch(path, {key: value for key, value in tensors.items() if value is not None})
    before = other.get_weights()
    with pytest.raises(CheckpointError, match=message):
        load_official(other, path)
    assert all(map(np.array_equal, before, other.get_weights()))


def test_another_number_of_classes(lite0, tmp_path):
    save_torch(lite0, tmp_path / 'model.pth')
    config = load_config(lite0.detection_config, {'num_classes': 3})
    model = efficientdet(config, weights=tmp_path / 'model.pth', on_class_mismatch='reinit')
    expected, found = official_weights(lite0), official_weights(model)
    name = 'box_net/box-predict/pointwise_kernel'
    np.testing.assert_array_equal(found[name], expected[name])


# ---- files ----


@pytest.mark.parametrize(
    'file', ['weights.pth', 'series.pth', 'checkpoint.pth', 'weights.safetensors']
)
def test_files_that_pytorch_wrote(file):
    if file.endswith('safetensors'):
        pytest.importorskip('safetensors')
    found = read_torch(GOLDENS / file)
    expected = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert set(found) == {'whole', 'transposed', 'half', 'count'}
    np.testing.assert_array_equal(found['whole'], expected)
    np.testing.assert_array_equal(found['transposed'], expected.transpose(2, 0, 1))
    np.testing.assert_array_equal(found['half'], expected[1, :2].astype(np.float16))
    assert found['count'].dtype == np.int64 and found['count'] == 7


def test_averages_of_a_training_come_first():
    found = read_torch(GOLDENS / 'averages.pth')
    np.testing.assert_array_equal(found['whole'], np.full([2], 5, np.float32))


@pytest.mark.parametrize('ending', ['pth', 'pt', 'safetensors'])
def test_written_files_are_read_back(ending, tmp_path):
    if ending == 'safetensors':
        pytest.importorskip('safetensors')
    values = {
        'a.weight': np.arange(6, dtype=np.float32).reshape(2, 3).T,
        'b.num_batches_tracked': np.zeros((), np.int64),
        'é': np.zeros((0, 4), np.float32),
    }
    write_torch(tmp_path / f'model.{ending}', values)
    found = read_torch(tmp_path / f'model.{ending}')
    assert list(found) == list(values) or ending == 'safetensors'
    for name, value in values.items():
        np.testing.assert_array_equal(found[name], value)
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
    assert os.listdir(tmp_path) == [f'model.{ending}']


@pytest.mark.parametrize('length', [0, 10, 400, -30])
@pytest.mark.parametrize('file', ['weights.pth', 'series.pth', 'weights.safetensors'])
def test_damaged_files_are_named(file, length, tmp_path):
    if file.endswith('safetensors'):
        pytest.importorskip('safetensors')
    path = tmp_path / file
    path.write_bytes((GOLDENS / file).read_bytes()[:length])
    with pytest.raises(CheckpointError, match=str(path)):
        read_torch(path)


def test_a_tensor_beyond_its_storage_is_refused(tmp_path):
    path = tmp_path / 'model.pth'
    with (
        zipfile.ZipFile(GOLDENS / 'weights.pth') as source,
        zipfile.ZipFile(path, 'w') as target,
    ):
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, content[:40] if '/data/' in name else content)
    with pytest.raises(CheckpointError, match='reaches beyond its storage'):
        read_torch(path)


def test_another_zip_file_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / 'model.pth', 'w') as archive:
        archive.writestr('readme.txt', 'no weights')
    with pytest.raises(CheckpointError, match=r'model\.pth: .*a zip file without data\.pkl'):
        read_torch(tmp_path / 'model.pth')


def test_other_objects_are_refused():
    with pytest.raises(CheckpointError, match=r"\['epoch'\], which are no tensors"):
        read_torch(GOLDENS / 'nothing.pth')


def test_other_endings_are_refused(lite0, tmp_path):
    with pytest.raises(ValueError, match=r'ends in \.pth'):
        save_torch(lite0, tmp_path / 'model.bin')
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ('name', 'separable'),
    [('efficientdet-lite0', False), ('centernet-lite0', True), ('efficientnet-lite0', True)],
)
def test_networks_that_effdet_does_not_have(name, separable, tmp_path):
    model = efficientdet(load_config(name, {'image_size': 64, 'separable_conv': separable}))
    with pytest.raises(CheckpointError, match='effdet has no place for'):
        save_torch(model, tmp_path / 'model.pth')


# ---- outputs ----


@pytest.mark.skipif(not TORCH, reason='PyTorch is in an environment of its own: make test-torch')
@pytest.mark.parametrize(
    ('name', 'size', 'classes', 'files'),
    [
        ('efficientdet-d0', 128, 90, ('weights.pth', 'series.pth', 'weights.safetensors')),
        ('efficientdet-d1', 128, 3, ('checkpoint.pth',)),
        ('efficientdet-lite0', 192, 7, ('weights.pth',)),
        ('efficientdet-d7x', 256, 90, ('weights.pth',)),
    ],
)
def test_effdet_both_ways(name, size, classes, files, tmp_path):
    arguments = [NAMES[name], str(size), str(classes), str(tmp_path)]
    subprocess.run([TORCH, PROGRAM, 'make', *arguments], check=True)
    expected = np.load(tmp_path / 'outputs.npz')
    config = load_config(name, {'image_size': size, 'num_classes': classes})
    for file in files:
        model = efficientdet(config, weights=tmp_path / file)
        outputs = model(expected['images'])
        for output in ('classes', 'boxes'):
            difference = np.abs(outputs[output].numpy() - expected[output]).max()
            assert difference <= 1e-3 * expected[output].std(), (file, output)
    for ending in ('pth', 'safetensors'):
        save_torch(model, tmp_path / f'ours.{ending}')
        subprocess.run([TORCH, PROGRAM, 'run', *arguments, tmp_path / f'ours.{ending}'], check=True)
        ours = np.load(tmp_path / 'ours.npz')
        for output in ('classes', 'boxes'):
            np.testing.assert_array_equal(ours[output], expected[output])
