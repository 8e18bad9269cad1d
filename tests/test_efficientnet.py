"""Block tables against the official ones, and the features that the pyramid takes."""

import keras
import numpy as np
import official
import pytest
import tensorflow as tf

from keras_efficientdet.network.backbones.efficientnet import (
    SCALINGS,
    block_table,
    efficientnet,
    round_filters,
)

OFFICIAL = official.golden('func/backbone_blocks.json')


@pytest.mark.parametrize('name', sorted(set(OFFICIAL) & set(SCALINGS)))
def test_official_blocks(name):
    ours, wanted = block_table(name), []
    for stage in OFFICIAL[name]['blocks']:
        wanted += [
            (
                stage['kernel_size'],
                stage['strides'][0],
                stage['expand_ratio'],
                stage['input_filters'],
                stage['output_filters'],
            )
        ]
    assert [(b.kernel, b.stride, b.expand, b.filters_in, b.filters_out) for b in ours] == wanted


def test_official_rounding():
    table = official.golden('func/rounding.json')['round_filters']
    for width, wanted in table['by_width'].items():
        if width != 'None':  # officially no scaling at all, a case that no network has
            assert [round_filters(n, float(width)) for n in table['inputs']] == wanted


@pytest.mark.parametrize('size', [(64, 64), (65, 127), (63, 96)])
def test_features_are_halved_and_rounded_up(size):
    inputs = keras.Input((*size, 3))
    features = efficientnet(inputs, 'efficientnet-lite0', act_type='relu6')
    height, width = size
    for level in range(1, 6):
        height, width = -(-height // 2), -(-width // 2)
        assert tuple(features[level].shape[1:3]) == (height, width)
    assert [features[level].shape[-1] for level in range(1, 6)] == [16, 24, 40, 112, 320]


def test_stochastic_depth_acts_in_training_only_and_on_whole_examples():
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, efficientnet(inputs, 'efficientnet-b1', survival_prob=0.3)[5])
    image = np.random.default_rng(0).standard_normal((1, 32, 32, 3)).astype(np.float32)
    np.testing.assert_array_equal(model(image), model(image))
    drops = [layer for layer in model.layers if 'drop_connect' in layer.name]
    blocks = len(block_table('efficientnet-b1'))
    assert 1 - drops[-1].survival_prob == pytest.approx(0.7 * (blocks - 1) / blocks)
    x = np.ones((64, 2, 2, 3), np.float32)
    y = drops[-1](x, training=True).numpy()
    assert {len(np.unique(row)) for row in y} == {1} and len(np.unique(y)) == 2


def test_b0_has_no_stochastic_depth_but_lite0_has():
    for name, expected in (('efficientnet-b0', False), ('efficientnet-lite0', True)):
        inputs = keras.Input((32, 32, 3))
        model = keras.Model(inputs, efficientnet(inputs, name)[5])
        assert any('drop_connect' in layer.name for layer in model.layers) == expected


def test_initial_kernels_have_the_official_spread():
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, efficientnet(inputs, 'efficientnet-b3')[5])
    expand = model.get_layer('efficientnet-b3.blocks_20.conv2d').get_weights()[0]
    assert np.std(expand) == pytest.approx(np.sqrt(2 / expand.shape[-1]), rel=0.02)
    depthwise = model.get_layer('efficientnet-b3.blocks_20.depthwise_conv2d').get_weights()[0]
    assert np.std(depthwise) == pytest.approx(
        np.sqrt(2 / (depthwise.shape[0] * depthwise.shape[1])), rel=0.02
    )


def test_stride_two_pads_only_below_and_right_on_even_sizes():
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, efficientnet(inputs, 'efficientnet-lite0')[5])
    stem = model.get_layer('efficientnet-lite0.stem.conv2d')
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 3)).astype(np.float32)
    padded = np.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)])
    np.testing.assert_allclose(
        stem(x), tf.nn.conv2d(padded, stem.get_weights()[0], 2, 'VALID'), atol=1e-5
    )


def test_unknown_name():
    with pytest.raises(ValueError, match='expected one of efficientnet-b0'):
        efficientnet(keras.Input((32, 32, 3)), 'resnet50')
