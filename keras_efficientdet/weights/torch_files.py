"""PyTorch state dicts, read without PyTorch: `.pth` of both formats, and `.safetensors`.

We read pickles with our own unpickler because `torch.load(weights_only=True)` would make PyTorch, a
gigabyte, a dependency of loading a few megabytes; and because a pickle can run any code, this one
accepts only the few names that a state dict needs.
"""

import collections
import io
import os
import pathlib
import pickle
import zipfile
from collections.abc import Mapping

import numpy as np

from keras_efficientdet.errors import CheckpointError
from keras_efficientdet.optional import require

ENDINGS = ('.pth', '.pt', '.safetensors')
_MAGIC = 0x1950A86A20F9469CFC6C  # of the format before PyTorch 1.6
DTYPES = {
    'FloatStorage': np.dtype('<f4'),
    'DoubleStorage': np.dtype('<f8'),
    'HalfStorage': np.dtype('<f2'),
    'LongStorage': np.dtype('<i8'),
    'IntStorage': np.dtype('<i4'),
}
# What reading a file that is damaged or of another kind may raise.
_DAMAGED = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    KeyError,
    TypeError,
    ValueError,
    EOFError,
    IndexError,
    AttributeError,
)
# Training programs save more than weights; averages come first, as with official checkpoints.
_CONTAINERS = ('state_dict_ema', 'state_dict', 'model')


def is_torch_file(source: object) -> bool:
    """Whether `source` is the path of a PyTorch file, by its ending."""
    return isinstance(source, str | os.PathLike) and str(source).endswith(ENDINGS)


def read_torch(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """{name: array} of a state dict, or of the one in a checkpoint of a training.

    Raises:
      CheckpointError: another kind of file, damaged, or a pickle that holds other objects.
      ImportError: a `.safetensors` file, and the extra `safetensors` is not installed.
    """
    if str(path).endswith('.safetensors'):
        return _read_safetensors(path)
    try:
        content = pathlib.Path(path).read_bytes()
        is_zip = zipfile.is_zipfile(io.BytesIO(content))
        loaded = (_read_zip if is_zip else _read_series)(io.BytesIO(content))
        return _state_dict(loaded)
    except _DAMAGED as error:
        raise CheckpointError(
            f'{path}: not a PyTorch state dict: {error}. A file with more than weights is read '
            'after torch.save(model.state_dict(), path)'
        ) from error


def _read_safetensors(path):
    files = require('safetensors.numpy', 'safetensors')
    damaged = require('safetensors', 'safetensors').SafetensorError
    try:
        return files.load_file(path)
    except (damaged, OSError, KeyError) as error:
        raise CheckpointError(f'{path}: not a safetensors file: {error}') from error


def _state_dict(loaded):
    for key in _CONTAINERS:
        if isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    others = [name for name, value in loaded.items() if not isinstance(value, np.ndarray)]
    if others:
        raise ValueError(f'it holds {others[:3]}, which are no tensors')
    return dict(loaded)


def _read_zip(stream):
    """The format since PyTorch 1.6: a zip file with a pickle, and one file per storage."""
    with zipfile.ZipFile(stream) as archive:
        index = next((name for name in archive.namelist() if name.endswith('data.pkl')), None)
        if index is None:
            raise ValueError('a zip file without data.pkl')
        folder = index.removesuffix('data.pkl')
        storages = {}
        loaded = _Unpickler(archive.open(index), storages).load()
        for key, (dtype, _) in storages.items():
            storages[key] = (dtype, np.frombuffer(archive.read(f'{folder}data/{key}'), dtype))
    return _filled(loaded, storages)


def _read_series(stream):
    """The format before: a series of pickles, followed by the bytes of the storages."""
    storages = {}  # {key: (dtype, array)}, known by name before their bytes come

    def load():
        return _Unpickler(stream, storages).load()

    if load() != _MAGIC:
        raise pickle.UnpicklingError('not the magic number of a PyTorch file')
    load()  # protocol version
    load()  # sizes and byte order of the writing machine
    loaded = load()
    for key in load():
        dtype, _ = storages[key]
        count = int(np.frombuffer(stream.read(8), '<i8')[0])
        storages[key] = (dtype, np.frombuffer(stream.read(count * dtype.itemsize), dtype))
    return _filled(loaded, storages)


def _filled(value, storages):
    """The loaded dicts with arrays in place of tensors."""
    if isinstance(value, _Tensor):
        return value.read(storages)
    if isinstance(value, Mapping):
        return {key: _filled(inner, storages) for key, inner in value.items()}
    return value


class _Tensor:
    """A view of a storage, whose bytes come later in the file."""

    def __init__(self, storage, offset, size, stride, *_):
        self.key = storage
        self.offset = offset
        self.size = size
        self.stride = stride

    def read(self, storages):
        dtype, data = storages[self.key]
        if 0 in self.size:
            return np.empty(self.size, dtype)
        # `as_strided` checks nothing: a damaged file must not read memory that is not its own.
        reach = sum((n - 1) * s for n, s in zip(self.size, self.stride, strict=True))
        needed = self.offset + reach + 1
        if needed > len(data) or min([*self.size, *self.stride, self.offset]) < 0:
            raise ValueError(f'a tensor of {self.size} reaches beyond its storage of {len(data)}')
        strides = [s * dtype.itemsize for s in self.stride]
        return np.lib.stride_tricks.as_strided(data[self.offset :], self.size, strides).copy()


class _Settings:
    """Stands for the flags of a training program, which nobody reads."""

    def __setstate__(self, state):
        pass


class _Unpickler(pickle.Unpickler):
    """Loads tensors and their storages, and refuses every other name."""

    def __init__(self, stream, storages):
        super().__init__(stream)
        self.storages = storages

    def find_class(self, module, name):
        if (module, name) == ('collections', 'OrderedDict'):
            return collections.OrderedDict
        if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
            return _Tensor
        if (module, name) == ('argparse', 'Namespace'):
            return _Settings
        if module == 'torch' and name in DTYPES:
            return DTYPES[name]
        raise pickle.UnpicklingError(f'refused to load {module}.{name}')

    def persistent_load(self, saved_id):
        _, dtype, key, *_ = saved_id
        self.storages.setdefault(key, (dtype, None))
        return key
