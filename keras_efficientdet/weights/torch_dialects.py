"""The module names of PyTorch's EfficientDets: one table per program, from official layers.

effdet: https://github.com/huggingface/efficientdet-pytorch, its `tf_` models. The other program is
Yet-Another-EfficientDet-Pytorch. Both are known by the keys of the state dicts that they save.
"""

import itertools
import re
import typing
from collections.abc import Callable, Mapping

from keras_efficientdet.weights.imagenet import EXPANDED, FIRST

COUNTER = 'num_batches_tracked'
_SQUEEZE = {'se/conv2d': 'reduce', 'se/conv2d_1': 'expand'}
_CELL = r'fpn_cells/cell_(\d+)/fnode(\d+)'
_HEAD = r'(class|box)_net/(?:class|box)-'
# The official layers of each kind; groups are what modules are numbered and told apart by.
_LAYERS = {
    'stem': r'[^/]+/stem/conv2d',
    'stem_norm': r'[^/]+/stem/tpu_batch_normalization',
    'block': r'[^/]+/blocks_(\d+)/(.+)',
    'coarser': r'resample_p(\d+)/(conv2d|bn)',
    'lateral': rf'{_CELL}/resample_\d+_(\d+)_\d+/(conv2d|bn)',
    'after': rf'{_CELL}/op_after_combine\d+/(conv|bn)',
    'fusion': _CELL,
    'tower': rf'{_HEAD}(\d+)',
    'tower_norm': rf'{_HEAD}(\d+)-bn-(\d+)',
    'predict': rf'{_HEAD}predict',
}
_PROJECTION = re.compile(r'[^/]+/blocks_(\d+)/conv2d(_1)?/kernel')


class Network(typing.NamedTuple):
    """What names depend on besides the official name of a layer."""

    blocks: list[tuple[int, int]]  # (stage, number in the stage) of each block
    expanding: set[int]  # the blocks that expand
    levels: tuple[int, int]

    def is_up(self, node):
        """Whether a node of a BiFPN cell is on its way up, from coarse to fine."""
        return node < self.levels[1] - self.levels[0]

    def level_of(self, node):
        low, high = self.levels
        return high - 1 - node if self.is_up(node) else node + 2 * low + 1 - high


class Dialect(typing.NamedTuple):
    """The names of one program."""

    marker: str  # a key that only its state dicts have
    separable: tuple[str, str]  # the convolutions that a separable one is made of
    modules: dict[str, Callable]  # kind of layer -> function (network, its groups) -> module
    ignored: str  # pattern of keys that hold no variable of the network

    def module(self, layer, network):
        """The module of an official layer; None if the program has no such layer."""
        for kind, pattern in _LAYERS.items():
            if match := re.fullmatch(pattern, layer):
                groups = (int(g) if g.isdigit() else g for g in match.groups())
                return self.modules[kind](network, *groups)
        return None


def network_of(shapes: Mapping[str, tuple[int, ...]], levels: tuple[int, int]) -> Network:
    """What the names of a detector depend on.

    Args:
      shapes: {official name: shape}.
      levels: the lowest and highest level of the pyramid.
    """
    found = {}  # {(block, whether it is the second convolution): its channels}
    for name, shape in shapes.items():
        if match := _PROJECTION.fullmatch(name):
            found[int(match[1]), bool(match[2])] = shape[-1]
    expanding = {block for block, second in found if second}
    outputs = [found[block, block in expanding] for block in sorted({b for b, _ in found})]
    # Official numbers go through all stages, of which each has its own number of channels.
    blocks = [
        (stage, number)
        for stage, (_, run) in enumerate(itertools.groupby(outputs))
        for number, _ in enumerate(run)
    ]
    return Network(blocks, expanding, levels)


def _short(layer):
    """conv2d -> conv; bn stays."""
    return layer.removesuffix('2d')


# ---- effdet ----

_EFFDET_FIRST = {
    'depthwise_conv2d': 'conv_dw',
    'tpu_batch_normalization': 'bn1',
    'conv2d': 'conv_pw',
    'tpu_batch_normalization_1': 'bn2',
}
_EFFDET_EXPANDED = {
    'conv2d': 'conv_pw',
    'tpu_batch_normalization': 'bn1',
    'depthwise_conv2d': 'conv_dw',
    'tpu_batch_normalization_1': 'bn2',
    'conv2d_1': 'conv_pwl',
    'tpu_batch_normalization_2': 'bn3',
}


def _effdet_block(network, block, layer):
    stage, number = network.blocks[block]
    within = f'backbone.blocks.{stage}.{number}'
    if layer in _SQUEEZE:
        return f'{within}.se.conv_{_SQUEEZE[layer]}'
    return f'{within}.{(_EFFDET_EXPANDED if block in network.expanding else _EFFDET_FIRST)[layer]}'


EFFDET = Dialect(
    marker='backbone.conv_stem.weight',
    separable=('.conv_dw', '.conv_pw'),
    modules={
        'stem': lambda net: 'backbone.conv_stem',
        'stem_norm': lambda net: 'backbone.bn1',
        'block': _effdet_block,
        'coarser': lambda net, level, layer: (
            f'fpn.resample.{level - net.levels[0]}.conv.{_short(layer)}'
        ),
        'lateral': lambda net, cell, node, source, layer: (
            f'fpn.cell.{cell}.fnode.{node}.combine.resample.{source}.conv.{_short(layer)}'
        ),
        'after': lambda net, cell, node, layer: (
            f'fpn.cell.{cell}.fnode.{node}.after_combine.conv{".bn" if layer == "bn" else ""}'
        ),
        'fusion': lambda net, cell, node: f'fpn.cell.{cell}.fnode.{node}.combine.edge_weights',
        'tower': lambda net, kind, number: f'{kind}_net.conv_rep.{number}',
        'tower_norm': lambda net, kind, number, level: (
            f'{kind}_net.bn_rep.{number}.{level - net.levels[0]}.bn'
        ),
        'predict': lambda net, kind: f'{kind}_net.predict',
    },
    ignored=rf'.*\.{COUNTER}|anchors\.boxes',
)


# ---- Yet-Another-EfficientDet-Pytorch ----

# The names of its backbones are those of the packaged ones, with each convolution in a module.
_OF_OFFICIAL = {
    True: {official: name for name, official in EXPANDED.items()},
    False: {official: name for name, official in FIRST.items()},
}
_HEADS = {'class': 'classifier', 'box': 'regressor'}


def _in_module(name):
    return f'{name}.conv' if 'conv' in name else name


def _yet_another_block(network, block, layer):
    within = f'backbone_net.model._blocks.{block}'
    if layer in _SQUEEZE:
        return f'{within}._se_{_SQUEEZE[layer]}.conv'
    return f'{within}.{_in_module(_OF_OFFICIAL[block in network.expanding][layer])}'


def _lateral(network, cell, node, source, layer):
    again = '' if network.is_up(node) else '_2'
    level = network.levels[0] + source
    return f'bifpn.{cell}.p{level}_down_channel{again}.{"1" if layer == "bn" else "0.conv"}'


def _after(network, cell, node, layer):
    way = 'up' if network.is_up(node) else 'down'
    module = f'bifpn.{cell}.conv{network.level_of(node)}_{way}'
    return f'{module}.bn' if layer == 'bn' else module


YET_ANOTHER = Dialect(
    marker='backbone_net.model._conv_stem.conv.weight',
    separable=('.depthwise_conv.conv', '.pointwise_conv.conv'),
    modules={
        'stem': lambda net: 'backbone_net.model._conv_stem.conv',
        'stem_norm': lambda net: 'backbone_net.model._bn0',
        'block': _yet_another_block,
        'coarser': lambda net, level, layer: (
            f'bifpn.0.p{level - 1}_to_p{level}.{"1" if layer == "bn" else "0.conv"}'
        ),
        'lateral': _lateral,
        'after': _after,
        'fusion': lambda net, cell, node: (
            f'bifpn.{cell}.p{net.level_of(node)}_w{1 if net.is_up(node) else 2}'
        ),
        'tower': lambda net, kind, number: f'{_HEADS[kind]}.conv_list.{number}',
        'tower_norm': lambda net, kind, number, level: (
            f'{_HEADS[kind]}.bn_list.{level - net.levels[0]}.{number}'
        ),
        'predict': lambda net, kind: f'{_HEADS[kind]}.header',
    },
    # Its networks have fusion weights also where they add without them (D6, D7).
    ignored=rf'.*\.{COUNTER}|bifpn\.\d+\.p\d+_w\d',
)
