"""Records of any data set: TFRecords as they are; other formats are converted once, into a cache.

Processes that need the same conversion at once are kept apart by `fcntl.flock`, from the standard
library: a package such as filelock would add Windows, where this code merely converts twice, for
one more dependency.
"""

import hashlib
import json
import logging
import os
import pathlib
import shutil
import typing

import numpy as np

from keras_efficientdet.data import records
from keras_efficientdet.data.data_set import Data, source_of
from keras_efficientdet.data.record_writer import write_records
from keras_efficientdet.data.source import Source
from keras_efficientdet.files import keras_home, locked, size_and_time

FORMAT_VERSION = 1  # to be raised with every change of what write_records writes
_log = logging.getLogger(__name__)


def records_of(
    data: Data, cache_dir: str | os.PathLike | None = None, *, masks: bool = False
) -> records.Place:
    """The TFRecords of a data set, whatever its format.

    Args:
      data: TFRecords (folder, file, glob pattern, list of files, Records); a folder, json or csv
        file that `read_folder` takes; folder/split, as in 'voc/train', for a split of a folder; or
        a Source.
      cache_dir: default efficientdet/records in Keras' home ($KERAS_HOME, else ~/.keras). Its
        content can be deleted at any time.
      masks: whether to read the masks of a folder as well, for a head that learns from them.
    Returns:
      `data` itself if it is TFRecords; else the path of a folder in the cache, named by a hash of
      boxes, masks, classes and the names, sizes and times of the images, so that a data set is
      converted again after a change. Every call reads the annotations; where that takes too long,
      keep the folder that this function returns.
    Raises:
      DataError: what `read_folder` and `write_records` raise.
    """
    source = source_of(data, masks)
    if source is None:
        return typing.cast(records.Place, data)
    return str(_converted(source, cache_dir))


def label_overrides(data: Data) -> dict[str, dict]:
    """The classes of a data set, as overrides for `load_config`.

    Reads annotations, or the summary of records. Nothing is converted.

    Args:
      data: what `records_of` takes.
    Returns:
      {'model': {'label_map': {id: name}, 'num_classes': int}}; {} for records without a summary.
    Raises:
      DataError: as `read_folder` does.
    """
    source = source_of(data)
    if source is None:
        summary = records.summary_of(typing.cast(records.Place, data))
        label_map = (summary or {}).get('label_map')
    else:
        label_map = source.label_map
    if not label_map:
        return {}
    return {'model': {'label_map': dict(label_map), 'num_classes': len(label_map)}}


def _converted(source, cache_dir):
    cache = pathlib.Path(cache_dir) if cache_dir else keras_home() / 'efficientdet' / 'records'
    folder = cache / fingerprint(source)
    cache.mkdir(parents=True, exist_ok=True)
    if not folder.exists():
        lock = folder.with_name(f'{folder.name}.lock')
        with locked(lock, lambda: _log.info('waiting for another process that makes %s', folder)):
            _convert(source, folder)
    _log.info('records: %s', folder)
    return folder


def _convert(source, folder):
    if folder.exists():  # made by the process that held the lock before
        return
    # Left by a process that was killed: a living one would still hold the lock.
    for left in folder.parent.glob(f'{folder.name}.writing-*'):
        shutil.rmtree(left, ignore_errors=True)
    write_records(source, folder)


def fingerprint(source: Source) -> str:
    """20 hexadecimal digits that change with anything that the records of a Source depend on."""
    digest = hashlib.sha256(json.dumps([FORMAT_VERSION, list(source.label_map.items())]).encode())
    for photo in source.photos:
        facts = [
            str(photo.id),
            photo.height,
            photo.width,
            *_identity(photo),
            photo.ids,
            photo.areas,
            photo.crowd,
        ]
        digest.update(json.dumps(facts, default=float).encode())
        digest.update(np.asarray(photo.boxes, float).tobytes())
        digest.update(_mask_identity(photo.mask))
    return digest.hexdigest()[:20]


def _mask_identity(mask):
    """Bytes that a mask is recognised by; none where there is none."""
    if mask is None:
        return b''
    facts = (mask.name, *size_and_time(mask)) if isinstance(mask, pathlib.Path) else mask
    return json.dumps(facts).encode()


def _identity(photo):
    """What an image is recognised by: name, size and time of its file, or a hash of its content.

    A missing file is no error here: `write_records` reports it.
    """
    if photo.data is None:
        return photo.path.name, *size_and_time(photo.path)
    data = photo.data
    if isinstance(data, np.ndarray):
        data = np.ascontiguousarray(data)
    return photo.path.name, hashlib.sha256(data).hexdigest()
