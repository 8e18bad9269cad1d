"""Finds out which format the data set in a folder has, logs the reason, and reads it."""

import collections.abc
import logging
import mmap
import os
import pathlib
import typing

from keras_efficientdet.data.formats import voc, voc_layout, yolo, yolo_names
from keras_efficientdet.data.formats.coco import read_coco
from keras_efficientdet.data.formats.common import numbered
from keras_efficientdet.data.formats.csv_table import class_list, class_names, has_boxes, read_csv
from keras_efficientdet.data.formats.splits import (
    demand_split,
    image_folders,
    name_among,
    names_of,
    one_file,
    sisters,
    splits_in,
)
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


class Found(typing.NamedTuple):
    """Where a data set was found: `reasons` is {format: why it could be of that format}."""

    path: pathlib.Path
    split: str | None
    reasons: dict[str, str]


def read_folder(
    path: str | os.PathLike, split: str | None = None, kind: str | None = None
) -> Source:
    """Reads a data set of any format: a folder, a COCO json file or a csv file.

    Logs which format it was taken for, and why.

    Args:
      split: train, val, test (valid and validation mean val) or a list of a VOC folder. Required
        where there are several splits.
      kind: coco, voc, yolo or csv, where a folder could be more than one of them.
    Returns:
      Source.
    Raises:
      DataError: the folder is of none of the known formats, or of several; it has several splits,
        or lacks the requested one; and what the reader of the format raises.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise DataError(f'{path}: no such folder or file')
    return read_found(find(path, split), kind)


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


def read_found(found, kind=None):
    """The Source of what `find` found. Raises DataError as `read_folder` does."""
    name = _format_name(found, kind)
    split = f', split {found.split}' if found.split else ''
    _log.info('%s%s: read as %s, because of %s', found.path, split, name, found.reasons[name])
    read = {row.name: row.read for row in FORMATS}
    return read[name](found.path, found.split)


def _format_name(found, wanted):
    path, _, reasons = found
    if wanted in reasons:
        return wanted
    if path.is_dir() and holds_records(path):
        raise DataError(
            f'{path}: holds TFRecords, which need no reader; give the folder itself to dataset or '
            'fit'
        )
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


def _files(path, pattern):
    if path.is_file():
        return [path] if path.match(pattern) else []
    return sorted([*path.glob(pattern), *(path / 'annotations').glob(pattern)])


def _listing(files):
    """The first three files by name, as a reason; None where there are none."""
    if not files:
        return None
    names = ', '.join(file.name for file in files[:3])
    more = f' and {len(files) - 3} more' if len(files) > 3 else ''
    return f'{names}{more} in {files[0].parent}'


# ---- coco ----


def _coco_files(path):
    files = [
        file
        for file in _files(path, '*.json')
        if _mentions(file, b'"images"', b'"annotations"', b'"categories"')
    ]
    # COCO itself has files of key points and captions beside those of instances.
    instances = [file for file in files if file.name.startswith('instances')]
    return instances or files


def _mentions(path, *words):
    """Whether a file contains all of the words; mapped, because it may be half a gigabyte."""
    if not path.stat().st_size:  # an empty file cannot be mapped
        return False
    with (
        path.open('rb') as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return all(content.find(word) >= 0 for word in words)


def _coco_reason(path):
    return _listing(_coco_files(path))


def _read_coco(path, split):
    file = one_file(path, _coco_files(path), split)
    return read_coco(file, image_folders(file))


# ---- voc ----


def _voc_root(path):
    """VOCdevkit/VOC2012 of VOCdevkit/."""
    years = sorted(p for p in path.glob('VOC*') if (p / 'Annotations').is_dir())
    return years[0] if len(years) == 1 and not voc_layout.annotation_files(path) else path


def _voc_reason(path):
    return _listing(voc_layout.annotation_files(_voc_root(path))) if path.is_dir() else None


def _read_voc(path, split):
    folder = _voc_root(path)
    declared = voc_layout.splits(folder)
    demand_split(path, declared, split)
    label_map = None
    others = sisters(folder, voc_layout.annotation_files)
    if others:
        names = voc.class_names(folder).union(*map(voc.class_names, others))
        label_map = voc.label_map_of(names)
    return voc.read_voc(folder, name_among(declared, split), label_map)


# ---- yolo ----


def _yolo_reason(path):
    if not path.is_dir():
        return None
    for place in (path, path.parent, *yolo_names.split_folders(path)):
        names = yolo_names.yaml_of(place)[0] or yolo_names.name_file(place)
        # A file of names above is a reason only where there are labels to go with it.
        if names and (place != path.parent or _has_labels(path)):
            return str(names)
    return None


def _has_labels(path):
    return any((path / name).is_dir() for name in ('labels', 'Labels')) or any(path.glob('*.txt'))


def _read_yolo(path, split):
    content = yolo_names.yaml_of(path)[1]
    in_yaml = [key for key in yolo_names.SPLITS if content.get(key)]
    in_folders = [
        key
        for key in yolo_names.SPLITS
        if (path / 'images' / key).is_dir()
        or (path / key / 'images').is_dir()
        or yolo_names.name_file(path / key)
    ]
    declared = in_yaml or in_folders
    demand_split(path, declared, split)
    return yolo.read_yolo(path, name_among(declared, split))


# ---- csv ----


def _tables(folder):
    return _files(folder, '*.csv')


def _csv_reason(path):
    return _listing(_tables(path))


def _read_csv(path, split):
    files = _tables(path)
    file = one_file(path, [table for table in files if has_boxes(table)] or files, split)
    related = files
    if not path.is_dir():
        related = [file, *(table for table in _tables(file.parent) if _goes_with(table, file))]
    others = [table for folder in sisters(file.parent, _tables) for table in _tables(folder)]
    tables = list(dict.fromkeys([*related, *others]))
    return read_csv(file, image_folders(file), _label_map_of(tables))


def _goes_with(table, file):
    """Whether a table belongs to the file that was given: another split, or a list of classes."""
    return not has_boxes(table) or (splits_in(file.stem) and splits_in(table.stem))


def _label_map_of(tables):
    """{id: name}, the same for every split.

    From the list of classes beside the tables, if it has all of them; else the names in all tables.
    """
    names = set()
    lists = []
    for table in tables:
        if has_boxes(table):
            names |= class_names(table)
        elif (listed := class_list(table)) is not None:
            lists.append(listed)
    # Tables may hold ids in place of names.
    whole = [listed for listed in lists if names <= {*listed.values(), *map(str, listed)}]
    if whole and all(listed == whole[0] for listed in whole):
        return whole[0]
    return numbered(names)


FORMATS = (
    Format(
        'coco',
        'json files with images, annotations and categories, here or in annotations/',
        _coco_reason,
        _read_coco,
    ),
    Format('csv', 'csv files, here or in annotations/', _csv_reason, _read_csv),
    Format('voc', 'xml files, here or in Annotations/', _voc_reason, _read_voc),
    Format(
        'yolo',
        'a yaml file with `names`, classes.txt, obj.names or _darknet.labels, and text files',
        _yolo_reason,
        _read_yolo,
    ),
)
