"""Weights as people have them: a model file, a folder of a training, a misspelt name, nothing."""

import numpy as np
import official
import pytest
from little import TINY

from keras_efficientdet import (
    CheckpointError,
    compile_for_training,
    dataset,
    detector,
    efficientdet,
    export_savedmodel,
    export_tflite,
    load_config,
    load_official,
    read_examples,
)
from keras_efficientdet.weights.class_count import class_count
from keras_efficientdet.weights.official import official_weights

NAMES = 'imagenet, coco, coco640, advprop'


@pytest.fixture(scope='module')
def two():
    return load_config('efficientdet-lite0', {**TINY, 'num_classes': 2})


@pytest.fixture(scope='module')
def model(two):
    return efficientdet(two)


def same_but_classes(found, wanted):
    """Whether all weights are equal but those of the class prediction, which are not."""
    found, wanted = official_weights(found), official_weights(wanted)
    other = {name for name in wanted if not np.array_equal(found[name], wanted[name])}
    return other and all('class-predict' in name for name in other)


@pytest.mark.parametrize('whole', [False, True], ids=['network', 'detector'])
def test_a_keras_model(two, model, whole, tmp_path):
    official.bug_input('weights_from_what_one_has')
    (detector(model) if whole else model).save(tmp_path / 'shapes.keras')
    again = efficientdet(two, weights=tmp_path / 'shapes.keras')
    for name, value in official_weights(model).items():
        np.testing.assert_array_equal(official_weights(again)[name], value)
    three = load_config(two, {'num_classes': 3})
    with pytest.raises(CheckpointError, match='shape'):
        efficientdet(three, weights=str(tmp_path / 'shapes.keras'))
    fresh = efficientdet(three, str(tmp_path / 'shapes.keras'), on_class_mismatch='reinit')
    assert same_but_classes(fresh, model)
    assert class_count(tmp_path / 'shapes.keras', two.model) == 2


def test_the_folder_of_a_training(two, model, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'config.yaml').write_text('image_size: 128\n')
    model.save_weights(str(tmp_path / 'run' / 'best.weights.h5'))
    efficientdet(two).save_weights(str(tmp_path / 'run' / 'last.weights.h5'))
    for given in (tmp_path / 'run', '~/run', '~/run/best.weights.h5'):
        found = official_weights(efficientdet(two, weights=given))
        assert all(np.array_equal(found[name], v) for name, v in official_weights(model).items())
    assert class_count(tmp_path / 'run', two.model) == 2


@pytest.mark.parametrize(
    ('weights', 'message'),
    [
        ('imagnet', rf"no set of weights, which are {NAMES}; did you mean 'imagenet'\?"),
        ('Coco', rf"which are {NAMES}; did you mean 'coco'\?"),
        ('nowhere.weights.h5', r"weights 'nowhere\.weights\.h5': no such file \(/.*/nowhere"),
        ('nowhere.keras', r"weights 'nowhere\.keras': no such file"),
        ('runs/first/model', r"weights 'runs/first/model': no such file"),
        ('nowhere.onnx', r'nowhere\.onnx: an exported model'),
    ],
)
def test_what_is_not_there(two, weights, message):
    with pytest.raises(CheckpointError, match=message):
        efficientdet(two, weights=weights)
    with pytest.raises(CheckpointError, match=message):
        class_count(weights, two.model)


def test_exported_models_are_no_weights(two, model, tmp_path):
    exports = export_tflite(model, tmp_path / 'x.tflite'), export_savedmodel(model, tmp_path / 's')
    for path in exports:
        with pytest.raises(CheckpointError, match='an exported model, whose weights are constants'):
            efficientdet(two, weights=path)


def test_files_of_something_else(two, tmp_path):
    (tmp_path / 'broken.keras').write_bytes(b'no zip file')
    with pytest.raises(CheckpointError, match=r'broken\.keras: expected a \.keras file of a model'):
        efficientdet(two, weights=tmp_path / 'broken.keras')
    (tmp_path / 'broken.weights.h5').write_bytes(b'no h5 file')
    with pytest.raises(CheckpointError, match=r'broken\.weights\.h5: cannot be read as Keras'):
        efficientdet(two, weights=tmp_path / 'broken.weights.h5')
    wide = efficientdet(load_config(two, {'fpn_num_filters': 24}))
    wide.save_weights(str(tmp_path / 'wide.weights.h5'))
    with pytest.raises(CheckpointError, match=r'wide\.weights\.h5: not the weights of efficientde'):
        efficientdet(two, weights=tmp_path / 'wide.weights.h5')


def test_a_trained_model_starts_one_of_other_classes(two, tmp_path):
    """A compiled model saves the state of its optimizer along with its weights."""
    official.bug_input('weights_of_a_trained_model_other_classes')
    names = load_config(two, {'label_map': {1: 'nut', 2: 'bolt'}})
    model = efficientdet(names)
    image = np.random.default_rng(0).integers(0, 255, (60, 70, 3), np.uint8)
    rows = [{'image': image, 'boxes': [[5, 6, 40, 45]], 'labels': [1 + i % 2]} for i in range(4)]
    data = dataset(read_examples(rows, {1: 'nut', 2: 'bolt'}), names, training=True)
    compile_for_training(model, names, steps_per_epoch=1)
    model.fit(data, epochs=1, steps_per_epoch=1, verbose=0)
    model.save_weights(str(tmp_path / 'two.weights.h5'))
    three = load_config(two, {'num_classes': 3, 'label_map': None})
    again = efficientdet(three, tmp_path / 'two.weights.h5', on_class_mismatch='reinit')
    assert same_but_classes(again, model)


def test_load_official_names_what_it_cannot_read(model, tmp_path):
    with pytest.raises(CheckpointError, match='nowhere: no such checkpoint; give the prefix'):
        load_official(model, tmp_path / 'nowhere')
