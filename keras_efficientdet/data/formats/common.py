"""What the formats share: photos of rows of boxes, ids for names, where a picture is and how large."""

import math
import pathlib

import numpy as np

from keras_efficientdet.data.source import Change, Photo
from keras_efficientdet.errors import DataError


def photo(path, id, size, rows, changes, data=None):
    """A Photo of rows (box in pixels, own id, area or None, crowd). size: (height, width).

    Boxes are cut to the picture, those without area left out; `changes` (a Counter) counts both.
    """
    kept = []
    for box, own_id, area, crowd in rows:
        box = np.array(box, float)
        cut = np.clip(box, 0, [*size, *size])
        if np.any(box[2:] <= box[:2]):
            changes[Change.EMPTY_BOX] += 1
        elif np.any(cut[2:] <= cut[:2]):
            changes[Change.BOX_OUTSIDE] += 1
        else:
            changes[Change.BOX_CUT] += int(np.any(np.abs(cut - box) > 1e-3))
            kept.append((cut, own_id, area or float(np.prod(box[2:] - box[:2])), crowd))
    boxes, ids, areas, crowds = zip(*kept, strict=True) if kept else ((), (), (), ())
    return Photo(path, id, *size, np.reshape(boxes, (-1, 4)), ids, areas, crowds, data)


def numbered(names):
    """{id: name}: the names in alphabetical order, from 1 on."""
    return dict(enumerate(sorted(set(names)), 1))


def own_id(name, ids, where):
    """The id of a class name in {name: id}. Raises DataError with `where` for a name that is not there."""
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
    """The text of a file in UTF-8, with a byte order mark or without. Raises DataError for other encodings."""
    try:
        return path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise DataError(
            f'{path}: not text in UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8'
        ) from error


def file_in(folder, name):
    """The path of a name that may have been written on Windows: a backslash parts folders where there is no such file."""
    path = pathlib.Path(folder) / name
    return (
        path
        if '\\' not in name or path.is_file()
        else pathlib.Path(folder) / name.replace('\\', '/')
    )


def find_picture(names, folders, where):
    """The first of the names that is a file in one of the folders. Raises DataError with `where` if there is none."""
    for folder in folders:
        for name in names:
            if (found := file_in(folder, name)).is_file():
                return found
    raise DataError(
        f'{where}: its picture {names[0]} is not there; looked in {", ".join(map(str, folders))}'
    )
