"""Helpers that formats share: photos of rows of boxes, ids of names, and where an image file is."""

import math
import pathlib

import numpy as np

from keras_efficientdet.data.source import Change, Photo
from keras_efficientdet.errors import DataError

_ROUNDING = 1e-3  # pixels by which a box may leave its image without being counted as cut


def photo(path, id, size, rows, changes, data=None):
    """A Photo of the rows of an annotation file.

    Boxes are clipped to the image; those without area are left out. Both are counted.

    Args:
      size: (height, width).
      rows: list of (box (ymin, xmin, ymax, xmax) in pixels, category id, area or None, crowd).
      changes: Counter of Change.
      data: the image, if it is not a file (see `Photo`).
    """
    kept = []
    for box, category_id, area, crowd in rows:
        box = np.array(box, float)
        cut = np.clip(box, 0, [*size, *size])
        if np.any(box[2:] <= box[:2]):
            changes[Change.EMPTY_BOX] += 1
        elif np.any(cut[2:] <= cut[:2]):
            changes[Change.BOX_OUTSIDE] += 1
        else:
            changes[Change.BOX_CUT] += int(np.any(np.abs(cut - box) > _ROUNDING))
            kept.append((cut, category_id, area or float(np.prod(box[2:] - box[:2])), crowd))
    boxes, ids, areas, crowds = zip(*kept, strict=True) if kept else ((), (), (), ())
    return Photo(path, id, *size, np.reshape(boxes, (-1, 4)), ids, areas, crowds, data)


def numbered(names):
    """{id: name}: the names in alphabetical order, from 1 on."""
    return dict(enumerate(sorted(set(names)), 1))


def id_of(name, ids, where):
    """The category id of a name in {name: id}.

    Raises DataError, which begins with `where`, for a name that is not there.
    """
    if name not in ids:
        raise DataError(f'{where}: class {name!r} is not among the classes {str(list(ids))[:300]}')
    return ids[name]


def ids_of(label_map):
    """{name: id} of {id: name}."""
    return {name: i for i, name in label_map.items()}


def number(text, what, where):
    """A finite float. Raises DataError for anything else."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f'{where}: {what} must be a number, found {text!r}')
    return value


def text_of(path):
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises DataError for other encodings.
    """
    try:
        return path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise DataError(
            f'{path}: not text in UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8'
        ) from error


def lines_of(path):
    """The lines of a text file that are not empty, stripped."""
    stripped = (line.strip() for line in text_of(path).splitlines())
    return [line for line in stripped if line]


def file_in(folder, name):
    """The path of a name that may have been written on Windows.

    A backslash separates folders unless there is a file with a backslash in its name.
    """
    path = pathlib.Path(folder) / name
    if '\\' not in name or path.is_file():
        return path
    return pathlib.Path(folder) / name.replace('\\', '/')


def find_image(names, folders, where):
    """The first of the names that is a file in one of the folders.

    Raises DataError, which begins with `where`, if there is none.
    """
    for folder in folders:
        for name in names:
            path = file_in(folder, name)
            if path.is_file():
                return path
    raise DataError(
        f'{where}: its image {names[0]} is not there; looked in {", ".join(map(str, folders))}'
    )
