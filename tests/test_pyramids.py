"""The pyramid's graph, its resampling, and what each node depends on."""

import keras
import numpy as np
import official
import pytest
import tensorflow as tf

from keras_efficientdet.network.pyramids.graphs import GRAPHS, bifpn_nodes
from keras_efficientdet.network.pyramids.pyramid import pyramid, resample


@pytest.mark.parametrize('graph', ['bifpn', 'qufpn'])
@pytest.mark.parametrize('levels', [(3, 7), (3, 8), (4, 7), (2, 6)])
def test_official_graphs(graph, levels):
    wanted = official.golden('func/fpn_nodes.json')[f'{graph}_{levels[0]}_{levels[1]}']['None'][
        'nodes'
    ]
    assert [(n.level, list(n.inputs)) for n in GRAPHS[graph](*levels)] == [
        (n['feat_level'], n['inputs_offsets']) for n in wanted
    ]


@pytest.mark.parametrize('first, last', [(3, 5), (2, 8), (3, 9)])
def test_every_feature_is_used(first, last):
    nodes, count = bifpn_nodes(first, last), last - first + 1
    used = {i for n in nodes for i in n.inputs}
    outputs = {
        max(count + i for i, n in enumerate(nodes) if n.level == level)
        for level in range(first, last + 1)
    }
    assert used | outputs == set(range(count + len(nodes)))


def pooled(x, size):
    inputs = keras.Input(x.shape[1:])
    return keras.Model(
        inputs, resample(inputs, size, x.shape[-1], 'r', resample_bn=True, weight_decay=0.0)
    )(x).numpy()


@pytest.mark.parametrize('size', [(4, 4), (5, 7), (3, 8)])
def test_pooling_has_a_window_one_larger_than_its_stride(size):
    x = (
        np.random.default_rng(0)
        .standard_normal((1, size[0] * 2 - 1, size[1] * 2, 3))
        .astype(np.float32)
    )
    wanted = tf.nn.max_pool2d(x, 3, 2, 'SAME')
    np.testing.assert_array_equal(pooled(x, size), wanted)


def test_resampling_cannot_grow_and_shrink_at_once():
    with pytest.raises(ValueError, match='one side grows'):
        pooled(np.zeros((1, 4, 8, 2), np.float32), (8, 4))


def test_each_edge_of_another_width_has_weights_of_its_own():
    features = {
        level: keras.Input((64 >> level - 3, 64 >> level - 3, 10 * level)) for level in (3, 4, 5)
    }
    outputs = pyramid(features, levels=(3, 7), filters=16, repeats=2)
    model = keras.Model(features, list(outputs.values()))
    names = {layer.name for layer in model.layers if layer.name.endswith('.conv2d')}
    assert names == {
        'resample_p6.conv2d',
        *(
            f'fpn_cells.cell_0.fnode{i}.resample_{k}.conv2d'
            for i, k in ((1, '0_2_6'), (2, '0_1_7'), (3, '0_0_8'), (4, '0_1_9'), (5, '0_2_10'))
        ),
    }
    assert [tuple(x.shape[1:]) for x in outputs.values()] == [
        (n, n, 16) for n in (64, 32, 16, 8, 4)
    ]


def test_unknown_names():
    inputs = {5: keras.Input((4, 4, 8))}
    with pytest.raises(ValueError, match="fusion 'mean'"):
        pyramid(inputs, levels=(5, 6), filters=8, repeats=1, fusion='mean')
    with pytest.raises(ValueError, match="graph 'fpn'"):
        pyramid(inputs, levels=(5, 6), filters=8, repeats=1, graph='fpn')
