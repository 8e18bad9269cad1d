"""Checkpoint files <-> {variable name: array}, in the formats that google/automl writes.

This file knows formats only; what the variables mean is the subject of `official`.
"""

import itertools
import lzma
import os
import pathlib
import shutil
import tarfile
import tempfile
import typing
import zlib
from collections.abc import Mapping

import h5py
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from keras_efficientdet.errors import CheckpointError

EMA = '/ExponentialMovingAverage'
ARCHIVES = ('.tar.gz', '.tgz', '.tar.xz')
_GRAPH = '_CHECKPOINTABLE_OBJECT_GRAPH'
_VALUE = '/.ATTRIBUTES/VARIABLE_VALUE'
_SLOT = '/.OPTIMIZER_SLOT/'


def is_keras_weights(source: typing.Any) -> bool:
    """Whether `source` is the path of a file as `model.save_weights` of Keras writes them."""
    # The type first: the text of a mapping of hundreds of arrays takes seconds.
    return isinstance(source, str | os.PathLike) and str(source).endswith('.weights.h5')


def read_checkpoint(source: str | os.PathLike) -> dict[str, np.ndarray]:
    """{variable name: array} of everything in a checkpoint, with the names of TF1 checkpoints.

    Args:
      source: the prefix or directory of a TensorFlow checkpoint (TF1 name-based or TF2
        object-based), an h5 file that official code wrote with `save_weights`, or an archive
        (.tar.gz, .tgz, .tar.xz) that holds one of these.
    Returns:
      dict. The names of moving averages end in '/ExponentialMovingAverage' for every format. State
      of a TF2 optimizer has the path of its slot in its name ('<variable>/optimizer/...').
    Raises:
      CheckpointError: missing, damaged, or of another format; the message names file and cause.
    """
    path = pathlib.Path(source).expanduser()
    if path.is_dir():
        path = _in_directory(path)
    if path.name.endswith(ARCHIVES):
        return _read_archive(_existing(path))
    if path.suffix in ('.h5', '.hdf5'):
        return _read_h5(_existing(path))
    return _read_tensorflow(path)


def _existing(path):
    if not path.is_file():
        raise CheckpointError(f'{path}: no such checkpoint file')
    return path


def _in_directory(folder):
    """The prefix or h5 file that a directory stands for.

    The file `checkpoint` names it; without that file it is the only checkpoint in the directory.
    """
    newest = tf.train.latest_checkpoint(str(folder))
    if newest:
        return pathlib.Path(newest)
    files = sorted(folder.iterdir())
    found = [p for p in files if p.suffix in ('.index', '.h5')]
    if len(found) != 1:
        raise CheckpointError(
            f'{folder}: expected one checkpoint, or the file `checkpoint` that names the newest, '
            f'found {[p.name for p in files] or "nothing"}; give the path of a checkpoint'
        )
    return pathlib.Path(str(found[0]).removesuffix('.index'))


def _read_archive(path):
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary).resolve()
        _unpack(path, folder)
        try:
            return read_checkpoint(_in_archive(folder))
        except CheckpointError as error:
            # The user gave an archive: the temporary folder would tell nothing.
            raise CheckpointError(f'{path}: {str(error).replace(f"{folder}/", "")}') from error


def _in_archive(folder):
    """The checkpoint in an unpacked archive, which may hold it in a folder of any name."""
    files = sorted(folder.rglob('*'))
    holders = {p.parent for p in files if p.suffix in ('.index', '.h5')}
    if len(holders) != 1:
        raise CheckpointError(
            f'expected one checkpoint in the archive, found {len(holders)} among '
            f'{[str(p.relative_to(folder)) for p in files][:10]}'
        )
    found = _in_directory(holders.pop())
    if not found.is_relative_to(folder):
        raise CheckpointError(f'its file `checkpoint` names {found}, which is not in the archive')
    return found


def _unpack(path, folder):
    """Unpacks files and folders into `folder` without their owners, modes and times."""
    try:
        with tarfile.open(path, 'r:*') as archive:
            for member in archive:
                _unpack_member(archive, member, path, folder)
    except (tarfile.TarError, OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise CheckpointError(
            f'{path}: cannot be unpacked, perhaps cut off while downloading: {error}'
        ) from error


def _unpack_member(archive, member, path, folder):
    """Refuses what could write outside of `folder`: archives come from the internet."""
    target = folder / member.name
    plain = member.isfile() or member.isdir()
    if not plain or '..' in target.parts or not target.is_relative_to(folder):
        raise CheckpointError(
            f'{path}: refused to unpack {member.name!r}: only files and folders inside of the '
            "archive's own folder are accepted, no links, devices, or paths that lead out of it"
        )
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.extractfile(member) as packed, open(target, 'wb') as unpacked:
        shutil.copyfileobj(packed, unpacked)


def _read_tensorflow(prefix):
    if not pathlib.Path(f'{prefix}.index').is_file():
        raise CheckpointError(
            f'{prefix}: no such checkpoint; give the prefix, without .index or .data-00000-of-00001'
        )
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except (tf.errors.OpError, ValueError, RuntimeError, LookupError) as error:
        # LookupError: TensorFlow raises IndexError for a data file that was cut off.
        raise CheckpointError(
            f'{prefix}: cannot be read as a TensorFlow checkpoint: {error}'
        ) from error
    graph = values.pop(_GRAPH, None)
    if graph is None:  # TF1: the keys are names already
        return values
    return _by_full_name(values, TrackableObjectGraph.FromString(graph), prefix)


def _by_full_name(values, graph, prefix):
    """Renames TF2 keys, which are paths through Python objects, to the names of the variables."""
    full = {a.checkpoint_key: a.full_name for node in graph.nodes for a in node.attributes}
    return _unique([(_tf1_name(key, full), value) for key, value in values.items()], prefix)


def _tf1_name(key, full):
    owner, is_slot, slot = key.removesuffix(_VALUE).partition(_SLOT)
    name = full.get(owner + _VALUE) or owner
    if is_slot:
        return name + (EMA if slot.endswith('/average') else _SLOT + slot)
    return owner if owner.startswith('optimizer/') else name


def _read_h5(path):
    if not h5py.is_hdf5(path):
        raise CheckpointError(f'{path}: not an HDF5 file, or damaged at its beginning')
    try:
        with h5py.File(path) as file:
            return _unique(_h5_pairs(file, path), path)
    except (OSError, KeyError, RuntimeError) as error:
        raise CheckpointError(f'{path}: cannot be read as h5 weights: {error}') from error


def _h5_pairs(file, path):
    layers = _names(file, 'layer_names')
    if not layers:
        raise CheckpointError(
            f'{path}: an h5 file, but not one of official weights (it has no `layer_names`). A '
            '.weights.h5 of this library is loaded by model.load_weights or '
            'efficientdet(weights=...)'
        )
    pairs = []
    for layer in layers:
        for name in _names(file[layer], 'weight_names'):
            pairs.append((name.removesuffix(':0'), file[layer][name][()]))
    return pairs


def _names(group, key):
    """The list in an attribute; Keras splits a long one into <key>0, <key>1, ..."""
    if key in group.attrs:
        lists = [group.attrs[key]]
    else:
        parts = (f'{key}{i}' for i in itertools.count())
        lists = [group.attrs[p] for p in itertools.takewhile(lambda p: p in group.attrs, parts)]
    names = itertools.chain.from_iterable(lists)
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _unique(pairs, path):
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        again = sorted({name for name in names if names.count(name) > 1})
        raise CheckpointError(
            f'{path}: several variables have the same name, among them {again[:5]}'
        )
    return values


def write_checkpoint(prefix: str | os.PathLike, values: Mapping[str, np.ndarray]) -> None:
    """Writes {name: array} as a TF1 name-based checkpoint, which becomes the newest of its folder.

    The files get their names when they are complete, the file `checkpoint` last.
    """
    prefix = pathlib.Path(prefix).expanduser()
    prefix.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, since files can only be renamed within a file system.
    with tempfile.TemporaryDirectory(
        prefix=f'.{prefix.name}.writing-', dir=prefix.parent
    ) as temporary:
        working = pathlib.Path(temporary) / prefix.name
        _save(working, values)
        state = working.with_name('checkpoint')
        state.write_text(
            f'model_checkpoint_path: "{prefix.name}"\n'
            f'all_model_checkpoint_paths: "{prefix.name}"\n',
            encoding='utf-8',
        )
        for ending in ('.data-00000-of-00001', '.index'):
            os.replace(f'{working}{ending}', f'{prefix}{ending}')
        os.replace(state, prefix.with_name('checkpoint'))


def _save(prefix, values):
    names = sorted(values)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[''] * len(names),
        tensors=[tf.constant(np.asarray(values[name])) for name in names],
    )
