"""Recognises what was given as a data set: TFRecords, a folder or file of a format, or a Source."""

import pathlib

from keras_efficientdet.data.formats import folder
from keras_efficientdet.data.records import Place, Records, holds_records, is_record_file
from keras_efficientdet.data.source import Source

Data = Place | Source  # what the library takes as a data set: see `cache.records_of`


def source_of(data: Data, masks: bool = False) -> Source | None:
    """The annotations of a data set as a Source, or None for TFRecords.

    Args:
      data: what `cache.records_of` takes.
      masks: as of `read_folder`.
    Raises:
      DataError: as `read_folder` does.
    """
    if isinstance(data, Source):
        return data
    if isinstance(data, Records | list | tuple):
        return None
    path = pathlib.Path(data)
    if _is_records(path):
        return None
    found = _find(path)
    return None if found is None else folder.read_found(found, masks=masks)


def _is_records(path):
    return holds_records(path) if path.is_dir() else is_record_file(path.name)


def _find(path):
    """What `folder.find` finds at a path; None for a pattern or a place that only TensorFlow reads.

    voc/train is the split train of voc/, unless it is a data set of its own.
    """
    if path.is_file():
        return folder.find(path) if path.suffix in ('.json', '.csv') else None
    whole = folder.find(path) if path.is_dir() else None
    if whole is not None and whole.reasons:
        return whole
    split = folder.find(path.parent, path.name) if path.parent.is_dir() else None
    return split if split is not None and split.reasons else whole
