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


def test_fpn_and_panet_by_hand():
    fpn = [(5, (2,)), (4, (1, 3)), (3, (0, 4))]
    assert GRAPHS['fpn'](3, 5) == fpn
    # Top-down outputs are 3 (level 5), 4 (level 4), 5 (level 3); 6 and 7 go up again.
    assert GRAPHS['panet'](3, 5) == [*fpn, (4, (4, 5)), (5, (3, 6))]


def reached(graph):
    """{level of an output: levels of the inputs that it depends on} of a pyramid of levels 3-6."""
    sizes = {3: 16, 4: 8, 5: 4, 6: 2}
    inputs = {level: keras.Input((size, size, 4)) for level, size in sizes.items()}
    outputs = pyramid(inputs, levels=(3, 6), filters=4, repeats=1, fusion='sum', graph=graph)
    model = keras.Model(list(inputs.values()), list(outputs.values()))
    values = [tf.random.stateless_normal([1, n, n, 4], (n, 1)) for n in sizes.values()]
    found = {}
    for level, output in zip(sizes, outputs, strict=True):
        with tf.GradientTape() as tape:
            tape.watch(values)
            total = tf.reduce_sum(model(values)[list(outputs).index(output)] ** 2)
        gradients = tape.gradient(total, values)
        found[level] = [
            source
            for source, g in zip(sizes, gradients, strict=True)
            if g is not None and np.any(g.numpy())
        ]
    return found


def test_what_each_output_depends_on():
    assert reached('fpn') == {3: [3, 4, 5, 6], 4: [4, 5, 6], 5: [5, 6], 6: [6]}
    for graph in ('panet', 'bifpn', 'qufpn'):
        assert reached(graph) == {level: [3, 4, 5, 6] for level in (3, 4, 5, 6)}


@pytest.mark.parametrize('graph', ['fpn', 'panet'])
def test_every_graph_repeats_and_has_a_node_for_each_level(graph):
    features = {level: keras.Input((64 >> level, 64 >> level, 10 * level)) for level in (3, 4, 5)}
    outputs = pyramid(features, levels=(3, 6), filters=16, repeats=2, graph=graph)
    assert [tuple(x.shape[1:]) for x in outputs.values()] == [(n, n, 16) for n in (8, 4, 2, 1)]


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
    with pytest.raises(ValueError, match="graph 'nas'"):
        pyramid(inputs, levels=(5, 6), filters=8, repeats=1, graph='nas')
