"""What several test files share: goldens, real images, one small network, fixed seeds.

Tests of goldens or images that are not there are skipped.
"""

import dataclasses
import json

import keras
import numpy as np
import official
import planted
import pytest
from tensorflow.python.framework import func_graph

from keras_efficientdet import Detector, efficientdet, load_config
from keras_efficientdet.commands import main
from keras_efficientdet.network.layers import BatchNorm
from keras_efficientdet.weights import official as checkpoints

LABELS = {1: 'cat', 18: 'dog', 400: 'van'}


@pytest.fixture(autouse=True)
def _seeds():
    keras.utils.set_random_seed(0)


@pytest.fixture
def golden():
    """The function name -> official output.

    Skips the test where neither the full set nor a committed slice holds it.
    """

    def load(name):
        found = official.golden(name)
        if found is None:
            pytest.skip(f'{name}: neither in {official.GOLDEN} nor in {official.SLICES}')
        return found

    return load


@pytest.fixture(scope='session')
def golden_file():
    """The function name -> path of a golden that is neither npz nor json."""
    return lambda name: _there(official.path(name) or official.GOLDEN / name)


@pytest.fixture(scope='session')
def real():
    """The function name -> folder or file of real pictures."""
    return lambda name: _there(official.DATA / name)


def _there(path):
    if not path.exists():
        pytest.skip(f'{path} is not there')
    return path


@pytest.fixture(scope='session')
def sources(tmp_path_factory):
    """{'train': Source, 'val': Source} of drawn pictures in which the doctor finds nothing."""
    return planted.sources(tmp_path_factory.mktemp)


@pytest.fixture(scope='session')
def healthy(sources, tmp_path_factory):
    """{'train': folder, 'val': folder} of their records."""
    folder = tmp_path_factory.mktemp('healthy')
    return {name: planted.written(source, folder / name) for name, source in sources.items()}


@pytest.fixture(scope='session')
def small_config():
    """Three classes with gaps in their ids; a picture that is no square."""
    return load_config(
        'efficientdet-lite0',
        {'image_size': [96, 128], 'num_classes': 3, 'label_map': LABELS, 'train.batch_size': 4},
    )


@pytest.fixture(scope='session')
def small_model(small_config):
    """A network whose detections depend on the image: weights drawn as in the goldens.

    Tests must not change it.
    """
    return _seeded(small_config)


@pytest.fixture(scope='session')
def small_d0(small_config):
    """The same of efficientdet-d0: swish, squeeze and excitation, weighted fusion."""
    model = dataclasses.asdict(small_config.model)
    d0 = _seeded(
        load_config(
            'efficientdet-d0', {k: model[k] for k in ('image_size', 'num_classes', 'label_map')}
        )
    )
    _measure_norms(d0, official.make_input(8, *model['image_size'], seed=0))
    return d0


def _seeded(config):
    model = efficientdet(config)
    rule = {'fpn_gain': 0.2, 'project_gain': 0.6}
    checkpoints.load_official(
        model, official.seeded_weights(checkpoints.official_shapes(model), rule)
    )
    return model


def _measure_norms(model, images):
    """Gives norms the statistics of images float32 [B, height, width, 3], and smaller gammas.

    With drawn statistics, D0's many layers lose what distinguishes one image from another. With
    gammas of 1, rounding errors grow so much that engines differ: a change of 1e-6 in the image
    moves logits by 9e-4; with these gammas, by 2e-6.
    """
    norms = [layer for layer in model.layers if isinstance(layer, BatchNorm)]
    for norm in norms:
        norm.gamma.assign(
            norm.gamma * (0.3 if norm.name.startswith(('class_net', 'box_net')) else 0.12)
        )
        norm.momentum, usual = 0.0, norm.momentum
    model(images, training=True)
    for norm in norms:
        norm.momentum = usual


@pytest.fixture(scope='session')
def small_detector(small_model):
    return Detector(small_model)


@pytest.fixture
def inside(monkeypatch, tmp_path):
    """The function (arguments): runs `efficientdet ARGUMENTS` in this process, with a cache of
    records of its own; returns the exit status. Errors are raised."""
    monkeypatch.setenv('KERAS_HOME', str(tmp_path / 'home'))
    monkeypatch.setenv('KERAS_EFFICIENTDET_TRACEBACK', '1')
    return lambda *arguments: main.run([str(argument) for argument in arguments])


@pytest.fixture
def traces(monkeypatch):
    """The names of the graphs that TensorFlow has traced since the test began.

    Graphs that were thrown away at once are among them.
    """
    names, usual = [], func_graph.FuncGraph.__init__

    def counted(self, name, *args, **kwargs):
        names.append(name)
        usual(self, name, *args, **kwargs)

    monkeypatch.setattr(func_graph.FuncGraph, '__init__', counted)
    return names


@pytest.fixture
def pictures():
    """Three different uint8 pictures, two of them of one size."""
    return [_picture(60, 90, 0), _picture(130, 70, 1), _picture(60, 90, 2)]


def _picture(height, width, seed):
    return np.clip(128 + 50 * official.make_input(1, height, width, seed)[0], 0, 255).astype(
        np.uint8
    )


@pytest.fixture
def write_json(tmp_path):
    """The function (content, name) -> path of a json file."""

    def write(content, name='content.json'):
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return tmp_path / name

    return write
