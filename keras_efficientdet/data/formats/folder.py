"""Finds out which format the data set in a folder has, logs the reason, and reads it."""

import collections.abc
import logging
import os
import pathlib
import typing

from keras_efficientdet.data.formats import recognition
from keras_efficientdet.data.formats.other_programs import program_of
from keras_efficientdet.data.formats.splits import names_of
from keras_efficientdet.data.records import holds_records
from keras_efficientdet.data.source import Source
from keras_efficientdet.errors import DataError

_log = logging.getLogger(__name__)


class Format(typing.NamedTuple):
    """A row of FORMATS: all that `read_folder` needs of a format."""

    name: str
    looked_for: str  # what a folder of this format holds
    reason: collections.abc.Callable  # folder or file -> why it is of this format, or None
    read: collections.abc.Callable  # (folder or file, split or None) -> Source
    has_masks: bool = False  # `read` takes masks=True


class Found(typing.NamedTuple):
    """Where a data set was found: `reasons` is {format: why it could be of that format}."""

    path: pathlib.Path
    split: str | None
    reasons: dict[str, str]


def read_folder(
    path: str | os.PathLike,
    split: str | None = None,
    kind: str | None = None,
    masks: bool = False,
) -> Source:
    """Reads a data set of any format: a folder, a COCO json file or a csv file.

    Logs which format it was taken for, and why.

    Args:
      split: train, val, test (valid and validation mean val) or a list of a VOC folder. Required
        where there are several splits.
      kind: coco, voc, yolo, csv or classes, where a folder could be more than one of them.
      masks: whether to read masks as well, which only COCO files have (see `with_masks`).
    Returns:
      Source.
    Raises:
      DataError: the folder is of none of the known formats, or of several; it has several splits,
        or lacks the requested one; its format has no masks; and what the reader of the format
        raises.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise DataError(f'{path}: no such folder or file')
    return read_found(find(path, split), kind, masks)


def find(path, split=None):
    """Found: what a folder or file holds.

    With a split, it is what <path>/<split> holds where only that folder is a data set.
    """
    reasons = formats_of(path)
    if split and not reasons:
        folders = [path / name for name in names_of(split) if (path / name).is_dir()]
        inside = formats_of(folders[0]) if folders else {}
        if inside:
            return Found(folders[0], None, inside)
    return Found(path, split, reasons)


def formats_of(path):
    """{format: reason} of all formats that a folder or file could be."""
    reasons = {row.name: row.reason(path) for row in FORMATS}
    return {name: reason for name, reason in reasons.items() if reason}


def read_found(found, kind=None, masks=False):
    """The Source of what `find` found. Raises DataError as `read_folder` does."""
    name = _format_name(found, kind)
    split = f', split {found.split}' if found.split else ''
    _log.info('%s%s: read as %s, because of %s', found.path, split, name, found.reasons[name])
    row = next(row for row in FORMATS if row.name == name)
    if not masks:
        return row.read(found.path, found.split)
    if not row.has_masks:
        raise DataError(
            f'{found.path}: read as {name}, which has no masks; they come from the segmentations '
            'of a COCO file, or from PNG files by `read_masks` and `with_masks`'
        )
    return row.read(found.path, found.split, masks=True)


def _format_name(found, wanted):
    path, _, reasons = found
    if wanted in reasons:
        return wanted
    if path.is_dir() and holds_records(path):
        raise DataError(
            f'{path}: holds TFRecords, which need no reader; give the folder itself to dataset or '
            'fit'
        )
    if not reasons and (other := program_of(path)):
        raise DataError(f'{path}: {other}; export the annotations as COCO, VOC or YOLO')
    if wanted or not reasons:
        inside = sorted(p.name for p in path.iterdir())[:20] if path.is_dir() else []
        what = f'{wanted} data set' if wanted else 'data set of a known format'
        looked_for = ', '.join(f'{row.name} ({row.looked_for})' for row in FORMATS)
        raise DataError(
            f'{path}: no {what}; looked for {looked_for}, TFRecord files; found '
            f'{", ".join(inside) or "nothing"}'
        )
    if len(reasons) > 1:
        could_be = '; '.join(f'{name} ({reason})' for name, reason in reasons.items())
        raise DataError(
            f'{path}: could be several formats: {could_be}. Name the json or csv file itself, or '
            'the format (efficientdet records --format)'
        )
    return next(iter(reasons))


FORMATS = (
    Format(
        'coco',
        'json files with images, annotations and categories, here or in annotations/',
        recognition.coco_reason,
        recognition.coco_read,
        has_masks=True,
    ),
    Format(
        'csv', 'csv files, here or in annotations/', recognition.csv_reason, recognition.csv_read
    ),
    Format(
        'voc', 'xml files, here or in Annotations/', recognition.voc_reason, recognition.voc_read
    ),
    Format(
        'yolo',
        'a yaml file with `names`, classes.txt, obj.names or _darknet.labels, and text files',
        recognition.yolo_reason,
        recognition.yolo_read,
    ),
    Format(
        'classes',
        'folders of images named by their class, and no annotations',
        recognition.class_folders_reason,
        recognition.class_folders_read,
    ),
)
