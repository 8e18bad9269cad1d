"""PyTorch state dicts in the old format (not zip), read without PyTorch.

Such a file is a series of pickles, followed by the bytes of the storages. We read it with our own
unpickler because `torch.load(weights_only=True)` would make PyTorch, a gigabyte, a dependency of
loading a few megabytes; and because a pickle can run any code, this one accepts only the four
names that a state dict needs.
"""

import collections
import io
import os
import pathlib
import pickle

import numpy as np

from keras_efficientdet.errors import CheckpointError

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {'FloatStorage': np.dtype('<f4'), 'LongStorage': np.dtype('<i8')}
# What reading a file that is damaged or of another kind may raise.
_DAMAGED = (
    pickle.UnpicklingError,
    KeyError,
    ValueError,
    EOFError,
    IndexError,
    AttributeError,
)


def read_pth(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """{name: array} of a state dict. Raises CheckpointError for anything else."""
    try:
        return _read(io.BytesIO(pathlib.Path(path).read_bytes()))
    except _DAMAGED as error:
        raise CheckpointError(
            f'{path}: not a PyTorch state dict in the old format: {error}'
        ) from error


def _read(stream):
    storages = {}  # {key: (dtype, array)}, known by name before their bytes come

    def load():
        return _Unpickler(stream, storages).load()

    if load() != _MAGIC:
        raise pickle.UnpicklingError('not the magic number of a PyTorch file')
    load()  # protocol version
    load()  # sizes and byte order of the writing machine
    tensors = load()
    for key in load():
        dtype, _ = storages[key]
        count = int(np.frombuffer(stream.read(8), '<i8')[0])
        storages[key] = (dtype, np.frombuffer(stream.read(count * dtype.itemsize), dtype))
    return {name: tensor.read(storages) for name, tensor in tensors.items()}


class _Tensor:
    """A view of a storage, whose bytes come later in the file."""

    def __init__(self, storage, offset, size, stride, *_):
        self.key = storage
        self.offset = offset
        self.size = size
        self.stride = stride

    def read(self, storages):
        dtype, data = storages[self.key]
        # `as_strided` checks nothing: a damaged file must not read memory that is not its own.
        reach = sum((n - 1) * s for n, s in zip(self.size, self.stride, strict=True))
        needed = self.offset + reach + 1
        if needed > len(data) or min([*self.size, *self.stride], default=0) < 0:
            raise ValueError(f'a tensor of {self.size} reaches beyond its storage of {len(data)}')
        strides = [s * dtype.itemsize for s in self.stride]
        return np.lib.stride_tricks.as_strided(data[self.offset :], self.size, strides).copy()


class _Unpickler(pickle.Unpickler):
    """Loads tensors and their storages, and refuses every other name."""

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
