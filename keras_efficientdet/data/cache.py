"""Records of anything: TFRecords as they are; other data sets are converted once, into a cache."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil

import numpy as np

from keras_efficientdet.data import records
from keras_efficientdet.data.formats.folder import is_data_set, read_folder
from keras_efficientdet.data.record_writer import write_records
from keras_efficientdet.data.source import Source
from keras_efficientdet.files import size_and_time

try:
    import fcntl
except (
    ImportError
):  # Windows: two processes may both convert then; whoever is second finds the first's work
    fcntl = None

FORMAT_VERSION = 1  # to be raised with every change of what write_records writes


def records_of(data, cache_dir=None):
    """The TFRecords of a data set, whatever its format.

    Args:
      data: TFRecords (folder, file, glob pattern, list of files); a folder, json or csv file that `read_folder` takes;
        folder/split, as in 'voc/train', for a split of a folder; or a Source.
      cache_dir: default efficientdet/records in Keras' home ($KERAS_HOME, else ~/.keras). What is in it can be deleted.
    Returns:
      `data` itself where it is TFRecords; else a folder in the cache, named by a hash of the boxes, the classes and the
      names, sizes and times of the pictures, so that a changed data set is converted again. Every call reads the
      annotations; where that takes too long, keep the folder that this function returns.
    Raises:
      DataError: what `read_folder` and `write_records` raise.
    """
    source = source_of(data)
    return data if source is None else str(_converted(source, cache_dir))


def source_of(data):
    """The annotations of what `records_of` takes, as a Source; None for TFRecords. Raises DataError, as `read_folder` does."""
    if isinstance(data, Source):
        return data
    if isinstance(data, list | tuple) or _is_records(pathlib.Path(data)):
        return None
    path, split = _split_of(pathlib.Path(data))
    if not path.exists() or (path.is_file() and path.suffix not in ('.json', '.csv')):
        return None  # a pattern, or a place that only TensorFlow can read
    return read_folder(path, split)


def label_overrides(data):
    """What a configuration for a data set has to know of its classes: {'model': {label_map, num_classes}}, or {}.

    data: what `records_of` takes.
    """
    summary = records.summary_of(records_of(data))
    return (
        {'model': {'label_map': summary['label_map'], 'num_classes': len(summary['label_map'])}}
        if summary
        else {}
    )


def _is_records(path):
    if path.is_dir():
        return any('.tfrecord' in p.name for p in path.iterdir())
    return '.tfrecord' in path.name


def _split_of(path):
    """(folder, split): voc/train is the split train of voc/, where it is no data set of its own."""
    if path.is_file() or (path.is_dir() and is_data_set(path)) or not path.parent.is_dir():
        return path, None
    return (path.parent, path.name) if is_data_set(path.parent, path.name) else (path, None)


def _converted(source, cache_dir):
    home = pathlib.Path(os.environ.get('KERAS_HOME') or '~/.keras').expanduser()
    cache = pathlib.Path(cache_dir) if cache_dir else home / 'efficientdet' / 'records'
    folder = cache / fingerprint(source)
    cache.mkdir(parents=True, exist_ok=True)
    if not folder.exists():
        with _only_one(folder):
            _convert(source, folder)
    print(f'records: {folder}')
    return folder


def _convert(source, folder):
    if folder.exists():  # by the process that we waited for
        return
    for left in folder.parent.glob(f'{folder.name}.writing-*'):
        shutil.rmtree(
            left, ignore_errors=True
        )  # of a process that was killed: the lock says that it is gone
    write_records(source, folder)


@contextlib.contextmanager
def _only_one(folder):
    """One process at a time. The system frees the lock of a process that dies."""
    with folder.with_name(f'{folder.name}.lock').open('w') as file:
        if fcntl:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                print(f'waiting for another process that makes {folder}', flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fingerprint(source):
    """20 hexadecimal digits that change with anything that the records of a Source are made of."""
    digest = hashlib.sha256(json.dumps([FORMAT_VERSION, list(source.label_map.items())]).encode())
    for photo in source.photos:
        known = [
            str(photo.id),
            photo.height,
            photo.width,
            *_picture(photo),
            photo.ids,
            photo.areas,
            photo.crowd,
        ]
        digest.update(json.dumps(known, default=float).encode())
        digest.update(np.asarray(photo.boxes, float).tobytes())
    return digest.hexdigest()[:20]


def _picture(photo):
    """What a picture is known by: name, size and time of a file, or the content itself. A file that is not there is no less."""
    if photo.data is not None:
        return photo.path.name, hashlib.sha256(
            np.ascontiguousarray(photo.data) if isinstance(photo.data, np.ndarray) else photo.data
        ).hexdigest()
    return photo.path.name, *size_and_time(photo.path)
