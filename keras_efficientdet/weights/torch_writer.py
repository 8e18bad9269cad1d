"""PyTorch state dicts, written without PyTorch."""

import os
import pickle
import struct
import zipfile
from collections.abc import Mapping

import keras
import numpy as np

from keras_efficientdet.files import replaced_file
from keras_efficientdet.optional import require
from keras_efficientdet.weights.official import levels_of, official_weights
from keras_efficientdet.weights.torch_files import DTYPES, ENDINGS, is_torch_file
from keras_efficientdet.weights.torch_names import to_torch


def save_torch(model: keras.Model, path: str | os.PathLike) -> None:
    """Writes a detector's weights as a PyTorch state dict, which effdet loads.

    It fits effdet's model of the same size, 'tf_efficientdet_d0' for 'efficientdet-d0', with the
    same number of classes. The file is written without PyTorch.

    Args:
      model: the result of `efficientdet`.
      path: ends in `.pth`, `.pt` or `.safetensors`. A file that is there is replaced.
    Raises:
      CheckpointError: effdet has no such network. ValueError: another ending.
      ImportError: `.safetensors` without the extra `safetensors`.
    """
    if not is_torch_file(path):
        raise ValueError(f'{path}: expected a path that ends in {", ".join(ENDINGS)}')
    write_torch(path, to_torch(official_weights(model), levels_of(model)))


def write_torch(path: str | os.PathLike, values: Mapping[str, np.ndarray]) -> None:
    """Writes {name: float32 or int64 array} as a state dict; the ending chooses the format."""
    arrays = {name: np.asarray(value, order='C') for name, value in values.items()}
    with replaced_file(path) as working:
        if str(path).endswith('.safetensors'):
            require('safetensors.numpy', 'safetensors').save_file(arrays, working)
        else:
            _write_zip(working, arrays)


def _write_zip(path, arrays):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as archive:
        archive.writestr('archive/data.pkl', _pickled(arrays))
        archive.writestr('archive/byteorder', 'little')
        for i, array in enumerate(arrays.values()):
            archive.writestr(f'archive/data/{i}', array.tobytes())
        archive.writestr('archive/version', '3\n')


def _pickled(arrays):
    """The pickle of a state dict, in opcodes: its classes are PyTorch's, which is not here."""
    parts = [pickle.PROTO, b'\x02', pickle.EMPTY_DICT]
    for i, (name, array) in enumerate(arrays.items()):
        parts += [_text(name), *_tensor(str(i), array), pickle.SETITEM]
    return b''.join([*parts, pickle.STOP])


def _tensor(key, array):
    """Opcodes of _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)."""
    storage = next(name for name, dtype in DTYPES.items() if dtype == array.dtype)
    strides = [s // array.itemsize for s in array.strides]
    return [
        *(_global('torch._utils', '_rebuild_tensor_v2'), pickle.MARK),
        *(pickle.MARK, _text('storage'), _global('torch', storage), _text(key), _text('cpu')),
        *(_int(array.size), pickle.TUPLE, pickle.BINPERSID, _int(0)),
        *(pickle.MARK, *map(_int, array.shape), pickle.TUPLE),
        *(pickle.MARK, *map(_int, strides), pickle.TUPLE),
        *(pickle.NEWFALSE, _global('collections', 'OrderedDict'), pickle.EMPTY_TUPLE),
        *(pickle.REDUCE, pickle.TUPLE, pickle.REDUCE),
    ]


def _global(module, name):
    return pickle.GLOBAL + f'{module}\n{name}\n'.encode()


def _text(text):
    encoded = text.encode()
    return pickle.BINUNICODE + struct.pack('<I', len(encoded)) + encoded


def _int(number):
    return pickle.BININT + struct.pack('<i', number)
