"""A classifier goes through the whole library: folders of images, fit, evaluation, every export."""

import keras
import little
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_efficientdet import (
    Classifier,
    Detector,
    dataset,
    detector,
    evaluate,
    export_savedmodel,
    export_tflite,
    fit,
    label_overrides,
    load_config,
)
from keras_efficientdet.data.cache import records_of
from keras_efficientdet.doctor import examine
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.network.trained import load_trained

COLOURS = {'blue': (40, 60, 200), 'green': (50, 180, 60), 'red': (200, 50, 40)}


def picture(name, seed):
    """A noisy image of a colour; sizes differ."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 40, (60 + seed % 3 * 20, 90 - seed % 4 * 10, 3))
    return np.uint8(np.clip(np.array(COLOURS[name]) + noise, 0, 255))


def write(folder, count, first=0):
    for k, name in enumerate(COLOURS):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            image = picture(name, first + 10 * i + k)
            Image.fromarray(image).save(folder / name / f'{name}{i}.png')


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp('colours')
    write(folder / 'train', 16)
    write(folder / 'val', 4, first=1000)
    return folder


@pytest.fixture(scope='module')
def config(photos):
    settings = {
        'backbone_name': 'lite-short',
        'image_size': 64,
        'act_type': 'relu6',
        'batch_size': 8,
        'num_epochs': 6,
        'optimizer': 'adam',
        'learning_rate': 0.02,
        'lr_warmup_epoch': 0.0,
        'moving_average_decay': 0.5,
        'dropout': 0.0,
        'survival_prob': 1.0,
        'label_smoothing': 0.0,
        'max_output_size': 3,
    }
    assert little.TINY['backbone_name'] == settings['backbone_name']
    return load_config('efficientnet-lite0', [label_overrides(photos / 'train'), settings])


@pytest.fixture(scope='module')
def trained(photos, config, tmp_path_factory):
    """The folder that `fit` wrote, and its history."""
    folder = tmp_path_factory.mktemp('classifier') / 'run'
    return folder, fit(config, str(photos / 'train'), str(photos / 'val'), folder)


def test_batches_have_shares_and_the_weight_of_their_images(photos, config):
    (images, targets, weights), *_ = dataset(str(photos / 'train'), config, training=True).take(1)
    assert images.shape == (8, 64, 64, 3) and targets['logits'].shape == (8, 3)
    np.testing.assert_allclose(np.sort(targets['logits'], 1), [[0, 0, 1]] * 8, atol=1e-6)
    np.testing.assert_allclose(weights['logits'], np.full(8, 1 / 8), rtol=1e-6)


def test_it_learns_colours(trained, photos, config):
    folder, history = trained
    # Thirty steps from random weights; one image in twelve may be wrong.
    assert max(history.history['val_top1']) >= 11 / 12 and history.history['val_top5'][-1] == 1.0
    assert max(history.history['val_AP']) > 0.98
    assert (folder / 'report' / 'report.html').is_file()
    data = dataset(str(photos / 'val'), config, training=False)
    assert evaluate(load_trained(folder), data, progress=False)['top1'] >= 11 / 12


def test_every_form_gives_the_same_classes(trained, tmp_path):
    model = load_trained(trained[0])
    images = [picture(name, 7 + i) for i, name in enumerate(COLOURS)]
    wanted = Classifier(model)(images)
    assert [found.name for found in wanted] == list(COLOURS)
    assert str(wanted[0]).startswith(f'blue {wanted[0].score:.3f}, ')
    model.save(tmp_path / 'model.keras')
    export_savedmodel(model, tmp_path / 'saved')
    export_tflite(model, tmp_path / 'model.tflite', nms='graph')
    # TFLite is given images of uint8 that were resized before, so it differs by rounding.
    for path, tolerance in (('model.keras', 1e-5), ('saved', 1e-5), ('model.tflite', 0.02)):
        for ours, theirs in zip(wanted, Classifier(tmp_path / path)(images), strict=True):
            assert theirs.names == tuple(COLOURS) and theirs.name == ours.name
            np.testing.assert_allclose(np.sum(theirs.scores), 1.0, atol=1e-5)
            np.testing.assert_allclose(theirs.scores, ours.scores, atol=tolerance)
    boxes = Detector(tmp_path / 'saved')(images[:1])[0].boxes
    np.testing.assert_array_equal(boxes, [[0, 0, *images[0].shape[:2]]] * 3)


def test_the_doctor_expects_whole_images(photos, config):
    records = records_of(photos / 'train')
    found = {finding.id for finding in examine(records, None, config)}
    assert not found & {'boxes.whole_image', 'settings.image_size'}
    detecting = load_config('efficientdet-d0', label_overrides(photos / 'train'))
    found = {finding.id for finding in examine(records, None, detecting)}
    assert 'boxes.whole_image' in found


def test_its_detector_is_a_keras_model(trained):
    model = load_trained(trained[0])
    image = tf.constant(picture('red', 3))[None]
    whole = detector(model)
    found = whole(image)
    assert int(found['classes'][0, 0]) == list(COLOURS).index('red')
    assert isinstance(whole, keras.Model)


def test_a_detector_does_not_crop():
    with pytest.raises(ConfigError, match="resize='crop' cuts off the edges"):
        load_config('efficientdet-d0', 'resize=crop')
