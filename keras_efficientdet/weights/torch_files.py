"""PyTorch state dicts in the old (not zip) format, read without PyTorch.

Such a file is a series of pickles. It is read by an unpickler that knows four names and refuses every other.
"""

import collections
import io
import pathlib
import pickle

import numpy as np

from keras_efficientdet.errors import CheckpointError

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {'FloatStorage': np.dtype('<f4'), 'LongStorage': np.dtype('<i8')}


def read_pth(path):
    """{name: array} of a PyTorch state dict in the old (not zip) format. Raises CheckpointError for anything else."""
    stream = io.BytesIO(pathlib.Path(path).read_bytes())
    storages = {}
    try:
        if _Unpickler(stream, storages).load() != _MAGIC:
            raise pickle.UnpicklingError('not the magic number of a PyTorch file')
        _Unpickler(stream, storages).load()  # protocol version
        _Unpickler(stream, storages).load()  # sizes and byte order of the writer
        tensors = _Unpickler(stream, storages).load()
        for key in _Unpickler(stream, storages).load():
            dtype, _ = storages[key]
            count = int(np.frombuffer(stream.read(8), '<i8')[0])
            storages[key] = (dtype, np.frombuffer(stream.read(count * dtype.itemsize), dtype))
        return {name: tensor.read(storages) for name, tensor in tensors.items()}
    except (
        pickle.UnpicklingError,
        KeyError,
        ValueError,
        EOFError,
        IndexError,
        AttributeError,
    ) as error:
        raise CheckpointError(
            f'{path}: not a PyTorch state dict in the old format: {error}'
        ) from error


class _Tensor:
    """A view of a storage, resolved when the storages' bytes are known."""

    def __init__(self, storage, offset, size, stride, *_):
        self.key, self.offset, self.size, self.stride = storage, offset, size, stride

    def read(self, storages):
        dtype, data = storages[self.key]
        strides = [s * dtype.itemsize for s in self.stride]
        needed = (
            self.offset + sum((n - 1) * s for n, s in zip(self.size, self.stride, strict=True)) + 1
        )
        if needed > len(data) or min([*self.size, *self.stride], default=0) < 0:
            raise ValueError(f'a tensor of {self.size} reaches beyond its storage of {len(data)}')
        return np.lib.stride_tricks.as_strided(data[self.offset :], self.size, strides).copy()


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
