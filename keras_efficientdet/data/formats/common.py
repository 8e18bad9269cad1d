"""Helpers that formats share: photos of rows of boxes, ids of names, numbers and texts."""

import math

import numpy as np

from keras_efficientdet.data.source import Change, Photo
from keras_efficientdet.errors import DataError, raise_faults

_ROUNDING = 1e-3  # pixels: a smaller side is none, and a smaller cut is not counted


def photo(path, id, size, rows, changes, data=None):
    """A Photo of the rows of an annotation file.

    Swapped corners are put right, boxes are clipped to the image, and those without area are left
    out. All three are counted.

    Args:
      size: (height, width).
      rows: list of (box (ymin, xmin, ymax, xmax) in pixels, category id, area or None, crowd). An
        area that is not a positive number is replaced by that of the clipped box.
      changes: Counter of Change.
      data: the image, if it is not a file (see `Photo`).
    """
    kept = []
    for box, category_id, area, crowd in rows:
        cut = _clipped(np.array(box, float), size, changes)
        if cut is not None:
            kept.append((cut, category_id, _area(area, cut, changes), crowd))
    boxes, ids, areas, crowds = zip(*kept, strict=True) if kept else ((), (), (), ())
    return Photo(path, id, *size, np.reshape(boxes, (-1, 4)), ids, areas, crowds, data)


def _clipped(box, size, changes):
    """The box with its corners in order and within the image, or None. Counts what was changed."""
    ordered = np.concatenate([np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])])
    cut = np.clip(ordered, 0, [*size, *size])
    if not _has_area(ordered, size):
        changes[Change.EMPTY_BOX] += 1
    elif not _has_area(cut, size):
        changes[Change.BOX_OUTSIDE] += 1
    else:
        if np.any(ordered != box):
            changes[Change.REVERSED_BOX] += 1
        if np.any(np.abs(cut - ordered) > _ROUNDING):
            changes[Change.BOX_CUT] += 1
        return cut
    return None


def _has_area(box, size):
    """Whether a box has an area, also in records, which hold normalised float32."""
    normalised = np.float32(box / [*size, *size])
    return np.all(box[2:] - box[:2] > _ROUNDING) and np.all(normalised[2:] > normalised[:2])


def _area(stated, box, changes):
    if not stated:  # None, or 0, which programs write where they do not know it
        return float(np.prod(box[2:] - box[:2]))
    if math.isfinite(stated) and stated > 0:
        return stated
    changes[Change.INVALID_AREA] += 1
    return _area(None, box, changes)


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


def each(function, items):
    """[function(item) for each item]. The DataErrors of all items are raised as one."""
    results, faults = [], []
    for item in items:
        try:
            results.append(function(item))
        except DataError as error:
            faults.append(error)
    raise_faults(faults)
    return results


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
