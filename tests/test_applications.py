"""Networks of Keras as backbones: their features, preprocessing, and what is built on them."""

import functools

import drawn
import keras
import numpy as np
import pytest
from little import little_config

from keras_efficientdet import (
    ConfigError,
    Detector,
    compile_for_training,
    dataset,
    efficientdet,
    export_savedmodel,
    fit,
    load_config,
)
from keras_efficientdet.config.choices import APPLICATIONS
from keras_efficientdet.network.backbones.applications import name_of
from keras_efficientdet.network.trained import load_trained
from keras_efficientdet.weights.official import official_weights

SIZE = 64
SMALL = {'image_size': SIZE, 'num_classes': 3, 'fpn_num_filters': 8, 'fpn_cell_repeats': 1}
# The ends of blocks at 1/8, 1/16 and 1/32, on Keras 2 and 3.
TAPS = {
    'ResNet50': ('conv3_block4_out', 'conv4_block6_out', 'conv5_block3_out'),
    'ResNet50V2': ('conv3_block3_out', 'conv4_block5_out', 'conv5_block3_out'),
    'MobileNet': ('conv_pw_5_relu', 'conv_pw_11_relu', 'conv_pw_13_relu'),
    'MobileNetV3Small': ('expanded_conv_2/Add', 'expanded_conv_7/Add', 'expanded_conv_10/Add'),
    'DenseNet121': ('pool3_conv', 'pool4_conv', 'relu'),
}
MODULES = {
    'ResNet50': keras.applications.resnet,
    'ResNet50V2': keras.applications.resnet_v2,
    'MobileNet': keras.applications.mobilenet,
    'MobileNetV3Small': keras.applications.mobilenet_v3,
    'DenseNet121': keras.applications.densenet,
}


@functools.cache
def network(name):
    """A network of Keras with drawn weights and statistics."""
    keras.utils.set_random_seed(2)
    model = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=(SIZE, SIZE, 3)
    )
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights(
                [
                    gamma,
                    beta + 0.1 * rng.normal(size=beta.shape),
                    mean + 0.1 * rng.normal(size=mean.shape),
                    variance * rng.uniform(0.5, 1.5, variance.shape),
                ]
            )
    return model


def own_network():
    """Plain convolutions, a feature after every stride."""
    images = keras.Input((SIZE, SIZE, 3))
    x, features = images, []
    for i, width in enumerate((4, 6, 8, 10, 12)):
        x = keras.layers.Conv2D(width, 3, strides=2, padding='same', name=f'conv{i}')(x)
        features.append(x)
    return keras.Model(images, features, name='plain')


def normalised(images, config):
    model = config.model
    return ((images - np.array(model.mean_rgb)) / np.array(model.stddev_rgb)).astype(np.float32)


@pytest.mark.parametrize(
    'name',
    [
        *('ResNet50', 'MobileNet', 'MobileNetV3Small'),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ('ResNet50V2', 'DenseNet121')),
    ],
)
def test_features_are_those_of_the_network_after_its_own_preprocessing(name):
    backbone = network(name)
    model = efficientdet(load_config('efficientdet-d0', SMALL), backbone=backbone)
    assert model.detection_config.model.backbone_name == name
    layers = {layer.name.replace('_add', '/Add'): layer for layer in model.layers}
    ours = keras.Model(model.input, [layers[f'{name}.{tap}'].output for tap in TAPS[name]])
    theirs = {layer.name.replace('_add', '/Add'): layer for layer in backbone.layers}
    expected = keras.Model(backbone.input, [theirs[tap].output for tap in TAPS[name]])
    images = np.random.default_rng(0).uniform(0, 255, (2, SIZE, SIZE, 3)).astype(np.float32)
    prepared = MODULES[name].preprocess_input(images.copy())
    found = ours(normalised(images, model.detection_config))
    for feature, other in zip(found, expected(prepared), strict=True):
        np.testing.assert_allclose(feature, other, atol=1e-4 * np.std(other), rtol=0)


def test_pyramid_takes_these_features():
    model = efficientdet(load_config('efficientdet-d0', SMALL), backbone=network('MobileNet'))
    shapes = {name: value.shape for name, value in official_weights(model).items()}
    for node, width in ((3, 256), (2, 512), (1, 1024)):
        names = [n for n in shapes if f'fnode{node}/resample_0_' in n and n.endswith('2d/kernel')]
        assert [shapes[name][2] for name in names] == [width]


@pytest.mark.parametrize('name', APPLICATIONS)
def test_every_name_is_a_network_of_keras(name):
    assert callable(getattr(keras.applications, name))


def test_names_are_found_again():
    assert name_of(network('MobileNetV3Small')) == 'MobileNetV3Small'
    assert name_of(own_network()) == 'own'


def test_the_configuration_alone_builds_it_again(tmp_path):
    config = load_config('efficientdet-d0', {**SMALL, 'backbone_name': 'MobileNetV3Small'})
    model = efficientdet(config, backbone=network('MobileNetV3Small'))
    model.save_weights(tmp_path / 'model.weights.h5')
    again = efficientdet(config, weights=tmp_path / 'model.weights.h5')
    for name, value in official_weights(model).items():
        np.testing.assert_array_equal(official_weights(again)[name], value)


def test_its_batch_norm_and_weight_decay_are_those_of_the_detector():
    model = efficientdet(load_config('efficientdet-d0', SMALL), backbone=network('MobileNet'))
    norm = model.get_layer('MobileNet.conv_pw_5_bn')
    assert type(norm).__name__ == 'BatchNorm' and norm.synchronized
    decay = load_config('efficientdet-d0').train.weight_decay / 2
    for layer, key in (('conv_dw_5', 'depthwise_regularizer'), ('conv_pw_5', 'kernel_regularizer')):
        regularizer = getattr(model.get_layer(f'MobileNet.{layer}'), key)
        np.testing.assert_allclose(regularizer.l2, decay, rtol=1e-6)


def test_a_network_of_ones_own_chooses_its_features(tmp_path):
    config = load_config('efficientdet-d0', SMALL)
    model = efficientdet(config, backbone=own_network())
    assert model.detection_config.model.backbone_name == 'own'
    assert model.get_layer('own.conv2').output.shape[1:] == (8, 8, 8)
    images = np.random.default_rng(0).normal(size=(1, SIZE, SIZE, 3)).astype(np.float32)
    model.save(tmp_path / 'model.keras')
    again = keras.models.load_model(tmp_path / 'model.keras')
    np.testing.assert_allclose(again(images)['boxes'], model(images)['boxes'], atol=1e-6)
    with pytest.raises(ConfigError, match=r'cannot build .*give it as `backbone`'):
        efficientdet(model.detection_config)


def test_one_network_can_be_used_twice():
    backbone, config = own_network(), load_config('efficientdet-d0', SMALL)
    first, second = (efficientdet(config, backbone=backbone) for _ in range(2))
    kernels = [model.get_layer('own.conv0').get_weights()[0] for model in (first, second)]
    np.testing.assert_array_equal(*kernels)
    first.get_layer('own.conv0').set_weights([kernels[0] + 1, np.zeros(4)])
    np.testing.assert_array_equal(backbone.get_layer('conv0').get_weights()[0], kernels[1])


def test_missing_features_are_named():
    images = keras.Input((SIZE, SIZE, 3))
    shallow = keras.Model(images, keras.layers.Conv2D(4, 3, strides=8, padding='same')(images))
    with pytest.raises(ConfigError, match=r'no features of \[\(4, 4\), \(2, 2\)\]'):
        efficientdet(load_config('efficientdet-d0', SMALL), backbone=shallow)


def test_classifiers_are_efficientnets():
    config = load_config('efficientnet-b0', {'backbone_name': 'ResNet50', 'image_size': SIZE})
    with pytest.raises(ConfigError, match='head classification is that of EfficientNets'):
        efficientdet(config)


@pytest.fixture(scope='module')
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp('applications')
    return drawn.records(folder, [drawn.three_objects(i) for i in range(4)], noise=15.0)


def test_resnet50_trains_and_its_savedmodel_gives_the_same_boxes(records, tmp_path):
    config = little_config(
        records,
        {'backbone_name': 'ResNet50', 'image_size': SIZE, 'num_epochs': 1, 'freeze': ['ResNet50']},
    )
    history = fit(config, str(records), str(records), tmp_path / 'run')
    assert np.all(np.isfinite(history.history['loss']))
    model = load_trained(tmp_path / 'run', 'last.weights.h5')
    export_savedmodel(model, tmp_path / 'saved')
    images = [drawn.noisy(drawn.picture(*drawn.three_objects(i)), 40.0, i) for i in range(2)]
    for ours, theirs in zip(
        Detector(model)(images), Detector(tmp_path / 'saved')(images), strict=True
    ):
        assert len(ours.boxes)
        np.testing.assert_allclose(theirs.boxes, ours.boxes, atol=1e-3)
        np.testing.assert_allclose(theirs.scores, ours.scores, atol=1e-5)


def test_keras_own_fit_trains_a_network_of_ones_own(records):
    config = little_config(records, {'image_size': SIZE, 'num_epochs': 1})
    model = efficientdet(config, backbone=own_network())
    compile_for_training(model, model.detection_config, steps_per_epoch=1)
    before = model.get_layer('own.conv0').get_weights()[0]
    model.fit(dataset(str(records), config, training=True), steps_per_epoch=1, verbose=0)
    assert not np.array_equal(model.get_layer('own.conv0').get_weights()[0], before)
