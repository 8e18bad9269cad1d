"""Files of weights -> {name: array}, and back: the formats of google/automl's checkpoints. Knows no model."""

import itertools
import lzma
import os
import pathlib
import shutil
import tarfile
import tempfile
import zlib

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


def read_checkpoint(source):
    """{variable name: array} of everything that a checkpoint holds, under the names that TF1 checkpoints use.

    Args:
      source: a prefix or a directory (TF1 name-based or TF2 object-based), an archive (.tar.gz, .tgz, .tar.xz) with one of
        these or an h5 in it, or an h5 file that official code saved with `save_weights`.
    Returns:
      dict. Moving averages end in '/ExponentialMovingAverage', whatever the format; TF2 optimizer state in the path of its
      slot ('<variable>/optimizer/...').
    Raises:
      CheckpointError: missing, damaged, or none of these formats. The message names the file and the cause.
    """
    path = pathlib.Path(source).expanduser()
    if path.is_dir():
        path = _in_directory(path)
    if path.name.endswith(ARCHIVES):
        return _read_archive(_existing(path))
    return _read_h5(_existing(path)) if path.suffix in ('.h5', '.hdf5') else _read_tensorflow(path)


def _existing(path):
    if not path.is_file():
        raise CheckpointError(f'{path}: no such checkpoint file')
    return path


def _in_directory(folder):
    """The prefix or h5 file that a directory stands for: what its file `checkpoint` names, else the only one in it."""
    newest = tf.train.latest_checkpoint(str(folder))
    found = (
        [newest]
        if newest
        else [
            str(p).removesuffix('.index')
            for p in sorted(folder.iterdir())
            if p.suffix in ('.index', '.h5')
        ]
    )
    if len(found) != 1:
        raise CheckpointError(
            f'{folder}: a directory without a checkpoint (it needs the file `checkpoint` that names the newest '
            f'one, or one alone); found {sorted(p.name for p in folder.iterdir()) or "nothing"}'
        )
    return pathlib.Path(found[0])


def _read_archive(path):
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary).resolve()
        _unpack(path, folder)
        holders = sorted({p.parent for p in folder.rglob('*') if p.suffix in ('.index', '.h5')})
        if len(holders) != 1:
            raise CheckpointError(
                f'{path}: expected one checkpoint in the archive, found {len(holders)} among '
                f'{sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))[:10]}'
            )
        try:
            found = _in_directory(holders[0])
            if not found.is_relative_to(folder):
                raise CheckpointError(
                    f'its file `checkpoint` names {found}, which is not in the archive'
                )
            return read_checkpoint(found)
        except CheckpointError as error:
            raise CheckpointError(f'{path}: {str(error).replace(f"{folder}/", "")}') from error


def _unpack(path, folder):
    """Files and folders only, and none outside of `folder`; owners, modes and times are left behind."""
    try:
        with tarfile.open(path, 'r:*') as archive:
            for member in archive:
                target = folder / member.name
                if (
                    not (member.isfile() or member.isdir())
                    or '..' in target.parts
                    or not target.is_relative_to(folder)
                ):
                    raise CheckpointError(
                        f'{path}: refused to unpack {member.name!r}: only files and folders inside of the '
                        "archive's own folder are taken, no links, devices, or paths that lead out of it"
                    )
                (target if member.isdir() else target.parent).mkdir(parents=True, exist_ok=True)
                if member.isfile():
                    with archive.extractfile(member) as packed, open(target, 'wb') as unpacked:
                        shutil.copyfileobj(packed, unpacked)
    except (tarfile.TarError, OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise CheckpointError(
            f'{path}: cannot be unpacked, perhaps cut off while downloading: {error}'
        ) from error


def _read_tensorflow(prefix):
    if not pathlib.Path(f'{prefix}.index').is_file():
        raise CheckpointError(
            f'{prefix}: no such checkpoint; give the prefix, without .index or .data-00000-of-00001'
        )
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except (
        tf.errors.OpError,
        ValueError,
        RuntimeError,
        LookupError,
    ) as error:  # IndexError: data file cut off
        raise CheckpointError(
            f'{prefix}: cannot be read as a TensorFlow checkpoint: {error}'
        ) from error
    graph = values.pop(_GRAPH, None)
    return (
        values
        if graph is None
        else _by_full_name(values, TrackableObjectGraph.FromString(graph), prefix)
    )


def _by_full_name(values, graph, prefix):
    """TF2 keys say where a variable hangs in the objects; the graph says how it was called when it was made."""
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
            layers = _names(file, 'layer_names')
            if not layers:
                raise CheckpointError(
                    f'{path}: an h5 file, but not one of official weights (it has no `layer_names`). A '
                    '.weights.h5 of this library is loaded by model.load_weights or efficientdet(weights=...)'
                )
            return _unique(
                [
                    (name.removesuffix(':0'), file[layer][name][()])
                    for layer in layers
                    for name in _names(file[layer], 'weight_names')
                ],
                path,
            )
    except (OSError, KeyError, RuntimeError) as error:
        raise CheckpointError(f'{path}: cannot be read as h5 weights: {error}') from error


def _names(group, key):
    """The list in an attribute; Keras cuts a long one into <key>0, <key>1, ..."""
    parts = itertools.takewhile(
        lambda part: part in group.attrs, (f'{key}{i}' for i in itertools.count())
    )
    lists = [group.attrs[part] for part in ([key] if key in group.attrs else parts)]
    return [
        name.decode() if isinstance(name, bytes) else str(name) for names in lists for name in names
    ]


def _unique(pairs, path):
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        raise CheckpointError(
            f'{path}: several variables are called {sorted({n for n in names if names.count(n) > 1})[:5]}'
        )
    return values


def write_checkpoint(prefix, values):
    """Writes {name: array} as a name-based checkpoint, with the file `checkpoint` that makes it its directory's newest.

    The files appear under their names when they are complete; `checkpoint` comes last.
    """
    prefix = pathlib.Path(prefix).expanduser()
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f'.{prefix.name}.writing-', dir=prefix.parent
    ) as temporary:
        working = pathlib.Path(temporary) / prefix.name
        names = sorted(values)
        tf.raw_ops.SaveV2(
            prefix=str(working),
            tensor_names=names,
            shape_and_slices=[''] * len(names),
            tensors=[tf.constant(np.asarray(values[name])) for name in names],
        )
        state = working.with_name('checkpoint')
        state.write_text(
            f'model_checkpoint_path: "{prefix.name}"\nall_model_checkpoint_paths: "{prefix.name}"\n'
        )
        for ending in ('.data-00000-of-00001', '.index'):
            os.replace(f'{working}{ending}', f'{prefix}{ending}')
        os.replace(state, prefix.with_name('checkpoint'))
