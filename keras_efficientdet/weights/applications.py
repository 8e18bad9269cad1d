"""Weights of Keras' own EfficientNets, B0 to B7 (`keras.applications`), under official names.

Keras converted them from google/automl's checkpoints. Its models hold their normalisation, ours are
fed with normalised images; `official_values` checks that the two are the same.
"""

import re
from collections.abc import Mapping

import keras
import numpy as np

from keras_efficientdet.errors import CheckpointError
from keras_efficientdet.keras_compat import variable_path

NAMES = tuple(f'efficientnet-b{i}' for i in range(8))
_TOP = {
    'stem_conv': 'stem/conv2d',
    'stem_bn': 'stem/tpu_batch_normalization',
    'top_conv': 'head/conv2d',
    'top_bn': 'head/tpu_batch_normalization',
    'predictions': 'head/dense',
}
# Official names count within a block, so they depend on whether it expands.
_FIRST = {
    'dwconv': 'depthwise_conv2d',
    'bn': 'tpu_batch_normalization',
    'se_reduce': 'se/conv2d',
    'se_expand': 'se/conv2d_1',
    'project_conv': 'conv2d',
    'project_bn': 'tpu_batch_normalization_1',
}
_EXPANDED = {
    **_FIRST,
    'expand_conv': 'conv2d',
    'expand_bn': 'tpu_batch_normalization',
    'bn': 'tpu_batch_normalization_1',
    'project_conv': 'conv2d_1',
    'project_bn': 'tpu_batch_normalization_2',
}
_BLOCK = re.compile(r'block(\d+)([a-z])_(\w+)')
_MEAN, _STDDEV = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def imagenet_values(backbone: str) -> dict[str, np.ndarray]:
    """{official variable name: float32 array} of a classifier, which Keras downloads if need be.

    Args:
      backbone: a row of NAMES.
    Raises:
      CheckpointError: Keras cannot download them; the message tells where to put them by hand.
    """
    file = backbone.replace('-', '') + '.h5'
    build = getattr(keras.applications, backbone.replace('efficientnet-b', 'EfficientNetB'))
    try:
        model = build(weights='imagenet')
    except Exception as error:  # Keras raises Exception itself where a download fails
        raise CheckpointError(
            f'the ImageNet weights of {backbone} are not here and cannot be downloaded: {error}. '
            f'Put https://storage.googleapis.com/keras-applications/{file} into ~/.keras/models, '
            'or give the path of this file as weights'
        ) from error
    return official_values(values_of(model), backbone)


def values_of(model: keras.Model) -> dict[str, np.ndarray]:
    """{'<layer>/<variable>': array} of a model, the names that its h5 file has."""
    values = {}
    for layer in model.layers:
        for variable in layer.weights:
            last = variable_path(variable).rpartition('/')[2]
            values[f'{layer.name}/{last}'] = np.asarray(variable)
    return values


def is_of_applications(values: Mapping[str, np.ndarray]) -> bool:
    """Whether these are the variables of an EfficientNet of `keras.applications`."""
    return any(name.startswith('stem_conv/') for name in values)


def official_values(
    values: Mapping[str, np.ndarray], backbone: str, label: str = 'keras.applications'
) -> dict[str, np.ndarray]:
    """The same values under official names.

    Args:
      values: {'<layer>/<variable>': array}.
      backbone: what the names begin with, 'efficientnet-b0'.
      label: names the source in messages.
    Raises:
      CheckpointError: a layer that Keras' EfficientNets do not have, or another normalisation.
    """
    _check_normalisation(values, label)
    blocks = _numbered_blocks(values)
    expanded = {
        match.group(1, 2)
        for match in map(_BLOCK.match, values)
        if match and match[3] == 'expand_conv'
    }
    result = {}
    for name, value in values.items():
        layer, _, variable = name.partition('/')
        variable = variable.rpartition('/')[2]
        if layer.startswith('normalization'):
            continue
        official = _layer(layer, blocks, expanded)
        if official is None:
            raise CheckpointError(f'{label}: {layer} is no layer of an EfficientNet of Keras')
        if layer.endswith('dwconv'):  # which Keras 3 calls kernel
            variable = 'depthwise_kernel'
        result[f'{backbone}/{official}/{variable}'] = value
    return result


def _numbered_blocks(values):
    """{('1', 'a'): 0, ('2', 'a'): 1, ...}: blocks in the order of the network."""
    found = {match.group(1, 2) for match in map(_BLOCK.match, values) if match}
    return {block: i for i, block in enumerate(sorted(found, key=lambda b: (int(b[0]), b[1])))}


def _layer(layer, blocks, expanded):
    """'block1a_dwconv' -> 'blocks_0/depthwise_conv2d'; None for an unknown layer."""
    match = _BLOCK.fullmatch(layer)
    if match is None:
        return _TOP.get(layer)
    block = match.group(1, 2)
    last = (_EXPANDED if block in expanded else _FIRST).get(match[3])
    return last and f'blocks_{blocks[block]}/{last}'


def _check_normalisation(values, label):
    """Raises CheckpointError unless it is the official one, or none, as in a model without weights.

    The file holds the standard deviation as a variance, and the model divides by its root twice.
    """
    stored = [
        tuple(np.round(np.ravel(values[name]), 3).tolist())
        for part in ('mean', 'variance')
        for name in values
        if name.startswith('normalization') and name.endswith(part)
    ]
    if stored and stored not in (
        [_MEAN, _STDDEV],
        [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0)],
    ):
        raise CheckpointError(
            f'{label}: images were normalised by mean and deviation {stored}, '
            f'expected {_MEAN} and {_STDDEV}'
        )
