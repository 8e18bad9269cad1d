"""EfficientNet as a classifier: official outputs, names and counts, and sources of its weights."""

import importlib.util
import pathlib

import h5py
import keras
import numpy as np
import official
import pytest
import tensorflow as tf

from keras_efficientdet import (
    CheckpointError,
    Classifier,
    ConfigError,
    classifier,
    efficientdet,
    load_config,
    load_official,
    model_names,
)
from keras_efficientdet.weights.applications import values_of
from keras_efficientdet.weights.class_count import class_count
from keras_efficientdet.weights.imagenet import imagenet_backbone
from keras_efficientdet.weights.official import official_shapes, official_weights, save_official

NAMES = model_names('efficientnet')
QUICK = ('efficientnet-b0', 'efficientnet-b2', 'efficientnet-lite0', 'efficientnet-lite4')
GOLDENS = ('b0_96x96', 'b1_64x64_7', 'lite0_96x128')
LIMIT = 1e-3  # of the standard deviation of the logits
MUTATIONS = (
    ('b0_96x96', 'efficientnet-b0/blocks_15/conv2d_1/kernel'),
    ('b0_96x96', 'efficientnet-b0/head/conv2d/kernel'),
    ('b0_96x96', 'efficientnet-b0/head/tpu_batch_normalization/moving_variance'),
    ('b1_64x64_7', 'efficientnet-b1/blocks_22/tpu_batch_normalization_2/beta'),
    ('b1_64x64_7', 'efficientnet-b1/head/dense/kernel'),
    ('lite0_96x128', 'efficientnet-lite0/stem/conv2d/kernel'),
    ('lite0_96x128', 'efficientnet-lite0/head/dense/bias'),
)


def seeded(golden, changes=()):
    """(model with the golden's weights, its logits, the official logits, their index entry)"""
    entry = official.golden('classifier/index.json')[golden]
    height, width = official.rule_input(entry).shape[1:3]
    model = classifier(
        load_config(entry['model'], [entry['override'] or {}, {'image_size': [height, width]}])
    )
    rule = {'fpn_gain': 1.0, 'project_gain': entry['project_gain']}
    weights = official.seeded_weights(official_shapes(model), rule)
    load_official(model, {k: v * 1.05 if k in changes else v for k, v in weights.items()})
    logits = model(official.rule_input(entry), training=False)['logits'].numpy()
    return model, logits, official.golden(f'classifier/{golden}.npz')['logits'], entry


@pytest.mark.parametrize('golden', GOLDENS)
def test_logits_and_names_are_official(golden):
    model, logits, wanted, entry = seeded(golden)
    np.testing.assert_allclose(logits, wanted, rtol=0, atol=LIMIT * entry['std'])
    names = {name: tuple(shape) for name, shape in entry['variables'].items()}
    assert official_shapes(model) == names


@pytest.mark.parametrize(('golden', 'name'), MUTATIONS)
def test_golden_notices_weights_that_are_5_percent_off(golden, name):
    _, logits, wanted, entry = seeded(golden, changes=[name])
    assert np.max(np.abs(logits - wanted)) > LIMIT * entry['std']


@pytest.mark.parametrize(
    'name', [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]
)
def test_counts_are_official(name):
    wanted = official.golden('classifier/trainable_parameters.json')[name]
    weights = classifier(name).trainable_weights
    assert sum(int(np.prod(w.shape)) for w in weights) == wanted
    assert load_config(name).expected.trainable_params == wanted


def test_every_official_classifier_is_here():
    assert set(official.golden('classifier/trainable_parameters.json')) == set(NAMES)


def test_input_sizes_and_dropout_are_published():
    sizes = [
        load_config(f'efficientnet-{n}').model.image_size[0]
        for n in ('b0', 'b1', 'b2', 'b3', 'b4', 'b5', 'b6', 'b7', 'b8', 'l2')
    ]
    assert sizes == [224, 240, 260, 300, 380, 456, 528, 600, 672, 800]
    dropout = [load_config(f'efficientnet-b{i}').model.dropout for i in range(8)]
    assert dropout == [0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.5, 0.5]


def test_dropout_and_stochastic_depth_act_in_training_only():
    model = classifier(load_config('efficientnet-b0', {'image_size': 32, 'num_classes': 3}))
    drops = [layer.survival_prob for layer in model.layers if 'drop_connect' in layer.name]
    assert drops == sorted(drops, reverse=True) and drops[-1] == pytest.approx(1 - 0.2 * 14 / 16)
    images = np.ones((2, 32, 32, 3), np.float32)
    np.testing.assert_array_equal(model(images)['logits'], model(images)['logits'])
    layer = model.get_layer('efficientnet-b0.head.dropout')
    mean = layer(np.ones((64, 512), np.float32), training=True).numpy()
    assert set(np.unique(mean)) == {0.0, np.float32(1 / 0.8)}
    assert np.mean(mean == 0.0) == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(
    'name',
    [
        'efficientnet-b0',
        pytest.param('efficientnet-b3', marks=pytest.mark.slow),
        pytest.param('efficientnet-b7', marks=pytest.mark.slow),
    ],
)
def test_outputs_equal_keras_applications(name):
    theirs = of_applications(name, classes=10)
    config = load_config(name, {'image_size': 64, 'num_classes': 10})
    model = classifier(config, weights=values_of(theirs))
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    ours = tf.nn.softmax(model(images / 255.0)['logits'])
    np.testing.assert_allclose(ours, theirs(images), atol=1e-4)
    assert np.std(ours) > 1e-3


def of_applications(name, classes):
    """An EfficientNet of keras.applications with seeded weights; it divides images by 255."""
    build = getattr(keras.applications, name.replace('efficientnet-b', 'EfficientNetB'))
    model = build(weights=None, input_shape=(64, 64, 3), classes=classes)
    for layer in model.layers:
        if not layer.name.startswith('normalization'):
            for variable in layer.weights:
                key = f'{layer.name}/{variable.name.rpartition("/")[2].removesuffix(":0")}'
                variable.assign(official.seeded_weight(key, tuple(variable.shape)))
    return model


def test_a_detector_has_the_features_of_keras_applications():
    theirs = of_applications('efficientnet-b0', classes=10)
    config = load_config('efficientdet-d0', {'image_size': 64})
    model = efficientdet(config, weights=values_of(theirs))
    ends = ('blocks_4.add', 'blocks_10.add', 'blocks_15.tpu_batch_normalization_2')
    ours = [model.get_layer(f'efficientnet-b0.{end}').output for end in ends]
    wanted = [
        theirs.get_layer(name).output
        for name in ('block3b_add', 'block5c_add', 'block7a_project_bn')
    ]
    images = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    for mine, other in zip(
        keras.Model(model.input, ours)(images / 255.0),
        keras.Model(theirs.input, wanted)(images),
        strict=True,
    ):
        np.testing.assert_allclose(mine, other, atol=1e-4)
        assert np.std(other) > 0.1


def test_the_h5_file_of_keras_applications_is_read(tmp_path):
    theirs, path = of_applications('efficientnet-b0', classes=10), tmp_path / 'efficientnetb0.h5'
    values = values_of(theirs)
    with h5py.File(path, 'w') as file:  # as Keras 2 writes it, and as the downloaded file is
        file.attrs['layer_names'] = [layer.name.encode() for layer in theirs.layers]
        for layer in theirs.layers:
            names = [n for n in values if n.startswith(f'{layer.name}/')]
            group = file.create_group(layer.name)
            group.attrs['weight_names'] = [f'{n}:0'.encode() for n in names]
            for name in names:
                group[f'{name}:0'] = values[name]
    config = load_config('efficientnet-b0', {'image_size': 64, 'num_classes': 10})
    model = classifier(config, weights=path)
    dense = theirs.get_layer('predictions').get_weights()[0]
    np.testing.assert_array_equal(
        official_weights(model)['efficientnet-b0/head/dense/kernel'], dense
    )
    assert class_count(path, config.model) == 10
    with pytest.raises(CheckpointError, match=r'efficientnetb0\.h5: .*mean and deviation'):
        with h5py.File(path, 'r+') as file:
            layer = next(name for name in file if name.startswith('normalization'))
            file[f'{layer}/{layer}/mean:0'][...] = 0.5
        classifier(config, weights=path)


def test_lite0_takes_its_classifier_out_of_the_wheel():
    values = imagenet_backbone('efficientnet-lite0')
    ours = official_weights(classifier('efficientnet-lite0', weights='imagenet'))
    assert set(ours) == set(values)
    assert all(np.array_equal(ours[name], values[name]) for name in ours)


def test_other_classes_need_reinit():
    config = load_config('efficientnet-lite0', {'image_size': 32, 'num_classes': 3})
    with pytest.raises(CheckpointError, match='reinit'):
        classifier(config, weights='imagenet')
    ours = official_weights(classifier(config, weights='imagenet', on_class_mismatch='reinit'))
    kernel = ours['efficientnet-lite0/head/dense/kernel']
    assert kernel.shape == (1280, 3) and 0.03 < np.max(np.abs(kernel)) <= 1 / np.sqrt(1000)
    values = imagenet_backbone('efficientnet-lite0')
    assert np.array_equal(
        ours['efficientnet-lite0/head/conv2d/kernel'],
        values['efficientnet-lite0/head/conv2d/kernel'],
    )


def test_a_checkpoint_of_a_classifier_serves_both(tmp_path):
    config = load_config('efficientnet-lite0', {'image_size': 32, 'num_classes': 5})
    donor = classifier(config)
    averages = {name: value + 1.0 for name, value in official_weights(donor).items()}
    save_official(donor, tmp_path / 'model.ckpt', averages=averages)
    assert class_count(tmp_path, config.model) == 5
    ours = official_weights(classifier(config, weights=tmp_path))
    assert all(np.array_equal(ours[name], averages[name]) for name in averages)
    detecting = load_config('efficientdet-lite0', {'image_size': 64})
    found = official_weights(efficientdet(detecting, weights=tmp_path))
    backbone = [name for name in found if name.startswith('efficientnet-lite0/')]
    assert len(backbone) == 240
    assert all(np.array_equal(found[name], averages[name]) for name in backbone)
    with pytest.raises(CheckpointError, match=r'does not fit.*\n?.*head/dense'):
        classifier(load_config(config, {'num_classes': 6}), weights=tmp_path)


def test_files_of_keras_have_their_classes(tmp_path):
    config = load_config('efficientnet-lite0', {'image_size': 32, 'num_classes': 5})
    model = classifier(config)
    model.save_weights(tmp_path / 'mine.weights.h5')
    model.save(tmp_path / 'mine.keras')
    other = load_config(config, {'num_classes': 7})
    for name in ('mine.weights.h5', 'mine.keras'):
        assert class_count(tmp_path / name, other.model) == 5
        taken = classifier(other, weights=tmp_path / name, on_class_mismatch='reinit')
        ours, theirs = official_weights(taken), official_weights(model)
        assert np.array_equal(
            ours['efficientnet-lite0/stem/conv2d/kernel'],
            theirs['efficientnet-lite0/stem/conv2d/kernel'],
        )
        assert ours['efficientnet-lite0/head/dense/bias'].shape == (7,)


def test_weights_that_nobody_has_are_named():
    with pytest.raises(
        CheckpointError, match=r'lite0 to lite2 .*b0 to b7 .*not of efficientnet-b8'
    ):
        imagenet_backbone('efficientnet-b8')


def test_a_detector_is_no_classifier():
    with pytest.raises(ConfigError, match=r"head 'anchor'; a classifier needs 'classification'"):
        classifier('efficientdet-d0')


def test_photos_have_their_imagenet_classes():
    """Photos that scikit-image ships; the official classifier gives espresso .944."""
    folder = pathlib.Path(importlib.util.find_spec('skimage').origin).parent / 'data'
    classify = Classifier(classifier('efficientnet-lite0', weights='imagenet'))
    coffee, cat = classify([folder / 'coffee.png', folder / 'chelsea.png'])
    espresso, tabby, tiger_cat, egyptian_cat = 967, 281, 282, 285
    assert coffee.classes[0] == espresso and coffee.score >= 0.9
    assert set(cat.classes[:3]) == {tabby, tiger_cat, egyptian_cat}
    assert len(cat.scores) == 5 and np.sum(cat.scores[:3]) > 0.9
