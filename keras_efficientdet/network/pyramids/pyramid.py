"""Feature pyramids: the one loop that builds any of the graphs in `graphs`."""

import keras

from keras_efficientdet.network.blocks import activation, batch_norm, conv2d, separable_conv2d
from keras_efficientdet.network.layers import FUSIONS, EdgeWeights, Fuse
from keras_efficientdet.network.pyramids.graphs import GRAPHS, last_of_level
from keras_efficientdet.network.resizing import NearestResize, UpSampling2D


def pyramid(
    features,
    *,
    levels,
    filters,
    repeats,
    fusion='fastattn',
    graph='bifpn',
    act_type='swish',
    separable=True,
    resample_bn=True,
    conv_bn_act=False,
    weight_decay=0.0,
):
    """Builds a feature pyramid on the features of a backbone.

    Args:
      features: {level: Keras tensor [B, h, w, C]}; levels above the highest are pooled from it.
      levels: (first, last) level of the pyramid.
      filters: channels of every feature of the pyramid.
      repeats: how often the graph is repeated.
      fusion: 'fastattn', 'attn', 'channel_fastattn', 'channel_attn' or 'sum'.
      graph: a row of `graphs.GRAPHS`: 'bifpn', 'qufpn', 'fpn' or 'panet'.
      resample_bn: batch norm after a 1x1 convolution that changes the number of channels.
      conv_bn_act: order in a node; False: activation, convolution, norm.
    Returns:
      {level: [B, h, w, filters]}, each size half the one before, rounded up.
    Raises:
      ValueError: unknown fusion or graph.
    """
    if fusion != 'sum' and fusion not in FUSIONS:
        raise ValueError(f'fusion {fusion!r}: expected sum, {", ".join(FUSIONS)}')
    if graph not in GRAPHS:
        raise ValueError(f'graph {graph!r}: expected one of {", ".join(GRAPHS)}')
    first, last = levels
    resampling = {'resample_bn': resample_bn, 'weight_decay': weight_decay}
    combining = {
        'act_type': act_type,
        'separable': separable,
        'conv_bn_act': conv_bn_act,
        'weight_decay': weight_decay,
    }
    nodes = GRAPHS[graph](first, last)
    found = _inputs(features, first, last, filters, resampling)
    for i in range(repeats):
        name = f'fpn_cells.cell_{i}'
        found = _cell(found, nodes, first, filters, fusion, name, resampling, combining)
    return dict(enumerate(found, first))


def _inputs(features, first, last, filters, resampling):
    """[feature of each level]; those above the highest of the backbone are pooled from it."""
    highest = max(features)
    inputs = [features[level] for level in range(first, min(last, highest) + 1)]
    for level in range(highest + 1, last + 1):
        size = tuple((n + 1) // 2 for n in inputs[-1].shape[1:3])
        inputs.append(resample(inputs[-1], size, filters, f'resample_p{level}', **resampling))
    return inputs


def _cell(inputs, nodes, first, filters, fusion, name, resampling, combining):
    """The graph once: [feature of each level] -> [last feature of each level]."""
    sizes = [x.shape[1:3] for x in inputs]
    known = list(inputs)  # every node appends its output, so that later ones find it by offset
    for i, node in enumerate(nodes):
        node_name = f'{name}.fnode{i}'
        size = sizes[node.level - first]
        met = []
        for k, offset in enumerate(node.inputs):
            # The official variable names contain these three numbers.
            resample_name = f'{node_name}.resample_{k}_{offset}_{len(known)}'
            met.append(resample(known[offset], size, filters, resample_name, **resampling))
        x = fuse(met, fusion, node_name)
        combine_name = f'{node_name}.op_after_combine{len(known)}'
        known.append(after_fusion(x, filters, combine_name, **combining))
    count = len(inputs)
    return [known[last_of_level(nodes, level, count)] for level in range(first, first + count)]


def fuse(features, fusion, name):
    """The weighted sum of the features that enter a node; `fusion` as of `pyramid`."""
    if len(features) == 1:
        return features[0]
    if fusion == 'sum':
        return keras.layers.Add(name=f'{name}.sum')(features)
    channels = features[0].shape[-1] if fusion.startswith('channel_') else 0
    weights = EdgeWeights(len(features), channels, name=name)(features[0])
    return Fuse(fusion, name=f'{name}.fuse')([*features, weights])


def after_fusion(x, filters, name, act_type, separable, conv_bn_act, weight_decay):
    """Activation, 3x3 convolution, batch norm; or convolution, batch norm, activation."""
    act = activation(act_type, f'{name}.activation')
    options = {'use_bias': not conv_bn_act, 'weight_decay': weight_decay, 'name': f'{name}.conv'}
    conv = separable_conv2d(filters, **options) if separable else conv2d(filters, 3, **options)
    norm = batch_norm(f'{name}.bn')
    return act(norm(conv(x))) if conv_bn_act else norm(conv(act(x)))


def resample(x, size, filters, name, *, resample_bn, weight_decay):
    """Brings a feature to `size` (height, width) and `filters` channels.

    A 1x1 convolution changes the channels; then max pooling shrinks, or nearest-neighbour enlarges.

    Raises:
      ValueError: one side would have to grow while the other shrinks.
    """
    if x.shape[-1] != filters:
        x = conv2d(filters, weight_decay=weight_decay, name=f'{name}.conv2d')(x)
        x = batch_norm(f'{name}.bn')(x) if resample_bn else x
    height, width = x.shape[1:3]
    if (height, width) == tuple(size):
        return x
    if height >= size[0] and width >= size[1]:
        strides = [(a - 1) // b + 1 for a, b in zip((height, width), size, strict=True)]
        windows = [s + 1 for s in strides]
        return keras.layers.MaxPooling2D(windows, strides, 'same', name=f'{name}.max_pool')(x)
    if height <= size[0] and width <= size[1]:
        if size[0] == 2 * height and size[1] == 2 * width:
            return UpSampling2D(name=f'{name}.up')(x)
        return NearestResize(size, name=f'{name}.up')(x)
    raise ValueError(
        f'{name}: cannot resample {height}x{width} to {size[0]}x{size[1]}: one side grows and '
        'the other shrinks; choose an image_size whose sides are multiples of 2 ** max_level'
    )
