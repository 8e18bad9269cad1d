"""Multiply-adds counted from the layers are those that the papers state."""

import keras
import pytest

from keras_efficientdet import efficientdet, load_config, model_names
from keras_efficientdet.network.flops import flops


@pytest.mark.parametrize(
    'name', ['efficientdet-d0', 'efficientdet-d1', 'efficientdet-lite0', 'efficientdet-lite1']
)
def test_the_listed_cost_is_that_of_the_network(name):
    config = load_config(name)
    assert flops(efficientdet(config)) / 1e9 == pytest.approx(config.expected.gflops, rel=0.03)


def test_every_model_lists_its_cost():
    assert all(load_config(name).expected.gflops for name in model_names())


def test_each_kind_of_layer_counts_its_multiplications():
    image = keras.Input((8, 6, 3))
    x = keras.layers.Conv2D(5, 3, 2, 'same')(image)  # [4, 3, 5]
    x = keras.layers.DepthwiseConv2D(3, padding='same')(x)
    shared = keras.layers.SeparableConv2D(5, 3, padding='same')
    x = shared(shared(x))
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dense(7)(keras.layers.GlobalAveragePooling2D()(x))
    conv, depthwise = 12 * 9 * 3 * 5, 12 * 9 * 5
    separable = 12 * (9 * 5 + 5 * 5)
    assert flops(keras.Model(image, x)) == conv + depthwise + 2 * separable + 5 * 7
