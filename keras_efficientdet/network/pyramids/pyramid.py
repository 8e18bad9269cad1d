"""The bidirectional feature pyramid: the graph as a list of nodes, and the one loop that reads it."""

import keras

from keras_efficientdet.network.blocks import activation, batch_norm, conv2d, separable_conv2d
from keras_efficientdet.network.layers import (
    FUSIONS,
    EdgeWeights,
    Fuse,
    NearestResize,
    UpSampling2D,
)
from keras_efficientdet.network.pyramids.graphs import GRAPHS, last_of_level


def bifpn(
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
    """Builds the pyramid.

    Args:
      features: {level: Keras tensor [B, h, w, C]}; levels above the highest are pooled from it.
      levels: (first, last) level of the pyramid.
      fusion: 'fastattn', 'attn', 'channel_fastattn', 'channel_attn' or 'sum'.
      graph: 'bifpn' or 'qufpn'.
      resample_bn: batch norm after a 1x1 convolution that changes the width.
      conv_bn_act: convolution, norm, activation in a node, instead of activation, convolution, norm.
    Returns:
      {level: [B, h, w, filters]} with each size half the one before, rounded up.
    Raises:
      ValueError: unknown fusion or graph.
    """
    if fusion != 'sum' and fusion not in FUSIONS:
        raise ValueError(f'fusion {fusion!r}: expected sum, {", ".join(FUSIONS)}')
    if graph not in GRAPHS:
        raise ValueError(f'graph {graph!r}: expected one of {", ".join(GRAPHS)}')
    first, last = levels
    style = {'weight_decay': weight_decay, 'resample_bn': resample_bn}
    pyramid = [features[level] for level in range(first, min(last, max(features)) + 1)]
    for level in range(max(features) + 1, last + 1):
        size = tuple((n + 1) // 2 for n in pyramid[-1].shape[1:3])
        pyramid.append(resample(pyramid[-1], size, filters, f'resample_p{level}', **style))
    nodes, count = GRAPHS[graph](first, last), last - first + 1
    sizes = [x.shape[1:3] for x in pyramid]
    for cell in range(repeats):
        known = list(pyramid)
        for i, node in enumerate(nodes):
            name = f'fpn_cells.cell_{cell}.fnode{i}'
            met = [
                resample(
                    known[offset],
                    sizes[node.level - first],
                    filters,
                    f'{name}.resample_{k}_{offset}_{len(known)}',
                    **style,
                )
                for k, offset in enumerate(node.inputs)
            ]
            x = fuse(met, fusion, name)
            known.append(
                after_fusion(
                    x,
                    filters,
                    f'{name}.op_after_combine{len(known)}',
                    act_type,
                    separable,
                    conv_bn_act,
                    weight_decay,
                )
            )
        pyramid = [known[last_of_level(nodes, level, count)] for level in range(first, last + 1)]
    return dict(enumerate(pyramid, first))


def fuse(features, fusion, name):
    """Adds the features that meet in a node, weighted as `fusion` says."""
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
    """Brings a feature to `size` (height, width) and `filters` channels: 1x1 convolution, then pool or nearest.

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
        return keras.layers.MaxPooling2D(
            [s + 1 for s in strides], strides, 'same', name=f'{name}.max_pool'
        )(x)
    if height <= size[0] and width <= size[1]:
        if size[0] == 2 * height and size[1] == 2 * width:
            return UpSampling2D(name=f'{name}.up')(x)
        return NearestResize(size, name=f'{name}.up')(x)
    raise ValueError(
        f'{name}: cannot resample {height}x{width} to {size[0]}x{size[1]}; one side grows, the other shrinks'
    )
