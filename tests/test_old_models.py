"""Files that commit 9340204 wrote, before the modules were moved, give the same numbers.

goldens/old_models/make.py made them, once with each Keras.
"""

import pathlib
import tarfile

import keras
import numpy as np
import official
import pytest
import tensorflow as tf

from keras_efficientdet import Detector, detector
from keras_efficientdet.config import class_ids, class_names
from keras_efficientdet.config.choices import SCALINGS
from keras_efficientdet.network.trained import load_trained

FOLDER = pathlib.Path(__file__).parent / 'goldens' / 'old_models'
OWN = f'keras{keras.__version__[0]}'
OTHER = {'keras2': 'keras3', 'keras3': 'keras2'}[OWN]
CLASSES = {18: 'dog', 1: 'cat', 400: 'van'}  # in class order, which is not that of the ids


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    """The backbone that make.py built, too small for any use."""
    monkeypatch.setitem(SCALINGS, 'tiny', (0.05, 0.1))


def unpacked(lane, name, folder):
    with tarfile.open(FOLDER / lane / f'{name}.tar.gz') as archive:
        archive.extractall(folder, filter='data')
    return folder


def expected(part, lane=OWN):
    """{output: array} of 'network', 'detector' or 'trained'."""
    with np.load(FOLDER / lane / 'expected.npz') as arrays:
        return {
            name.partition('.')[2]: values
            for name, values in arrays.items()
            if name.startswith(f'{part}.')
        }


def images():
    return official.make_input(2, 48, 64, seed=0)


def pixels():
    return np.clip(128 + 50 * official.make_input(2, 60, 90, seed=1), 0, 255).astype(np.uint8)


def check(found, wanted):
    """Equal up to 1e-5 of each output's spread."""
    assert set(found) == set(wanted)
    for name, values in wanted.items():
        atol = 1e-5 * float(np.ptp(values))
        np.testing.assert_allclose(np.asarray(found[name]), values, 1e-5, atol, err_msg=name)


def check_classes(config):
    names = dict(zip(class_ids(config.model), class_names(config.model), strict=True))
    assert list(names.items()) == list(CLASSES.items())


def test_a_keras_file(tmp_path):
    path = unpacked(OWN, 'tiny', tmp_path) / 'tiny.keras'
    model = keras.models.load_model(path, compile=False)
    check_classes(model.detection_config)
    check(model(images()), expected('network'))
    wanted = expected('detector')  # from before boxes were clipped to the image
    wanted['boxes'] = np.clip(wanted['boxes'], 0, np.tile(pixels().shape[1:3], 2))
    check(detector(model)(pixels()), wanted)
    found = Detector(path)(pixels())
    assert found[0].names == tuple(CLASSES.values()) and found[0].ids == tuple(CLASSES)


def test_an_exported_savedmodel(tmp_path):
    path = unpacked(OWN, 'savedmodel', tmp_path) / 'savedmodel'
    signatures = tf.saved_model.load(str(path / '1')).signatures
    check(signatures['raw'](images=tf.constant(images())), expected('network'))
    check(signatures['serving_default'](images=tf.constant(pixels())), expected('detector'))
    wanted = expected('detector')
    for i, found in enumerate(Detector(path)(pixels())):
        assert found.names == tuple(CLASSES.values()) and found.ids == tuple(CLASSES)
        count = wanted['count'][i]
        for name in ('boxes', 'scores', 'classes'):
            np.testing.assert_allclose(getattr(found, name), wanted[name][i, :count], 1e-4, 1e-3)


@pytest.mark.parametrize('lane', [OWN, OTHER])
def test_the_folder_of_a_training(lane, tmp_path):
    model = load_trained(unpacked(lane, 'fit', tmp_path) / 'fit', 'best.weights.h5')
    check_classes(model.detection_config)
    check(model(images()), expected('trained', lane))
