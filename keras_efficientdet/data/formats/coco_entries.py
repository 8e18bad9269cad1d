"""The entries of a COCO file: their checks, and what programs leave out of them."""

import collections
import json
import math

import numpy as np
from pycocotools import mask

from keras_efficientdet.data.formats.common import number, text_of
from keras_efficientdet.data.source import Change
from keras_efficientdet.errors import DataError

_NEEDED = {
    'images': ('id', 'file_name'),
    'annotations': ('image_id', 'category_id'),
    'categories': ('id', 'name'),
}


def read(path):
    """The content of a COCO file, with all entries checked.

    Raises DataError for a missing list, an entry without a key, or a value of a wrong type.
    """
    content = _parse(path)
    lists = content if isinstance(content, dict) else {}
    missing = [name for name in _NEEDED if not isinstance(lists.get(name), list)]
    if missing:
        raise DataError(f'{path}: not a COCO file, {", ".join(missing)} missing{_guess(content)}')
    for name, keys in _NEEDED.items():
        for entry in content[name]:
            if not isinstance(entry, dict) or any(key not in entry for key in keys):
                raise DataError(
                    f'{path}: an entry of `{name}` needs {", ".join(keys)}, found '
                    f'{str(entry)[:200]}'
                )
    for name, key, fits, expected in _VALUES:
        for entry in content[name]:
            if not fits(entry[key]):
                raise DataError(
                    f'{path}: `{key}` of an entry of `{name}` must be {expected}, found '
                    f'{str(entry)[:200]}'
                )
    return content


def _parse(path):
    try:
        return json.loads(text_of(path))
    except FileNotFoundError as error:
        raise DataError(f'{path}: no such annotation file') from error
    except ValueError as error:
        raise DataError(f'{path}: not a json file: {error}') from error


def _guess(content):
    """What a json file that is none of annotations may be instead."""
    first = content[0] if isinstance(content, list) and content else None
    if isinstance(first, dict) and {'image_id', 'bbox', 'score'} <= set(first):
        return '; this is a file of detections, the annotations are in another one'
    if isinstance(content, dict) and isinstance(content.get('annotations'), list):
        entry = next(iter(content['annotations']), None)
        if isinstance(entry, dict) and 'caption' in entry:
            return '; this is a file of captions, expected one of instances'
    return ''


def _is_int64(value):
    return isinstance(value, int) and -(2**63) <= value < 2**63


# (list, key, test, what the value must be)
_VALUES = (
    ('images', 'file_name', lambda v: isinstance(v, str) and v, 'a text'),
    ('images', 'id', lambda v: isinstance(v, int | str), 'a whole number or a text'),
    ('categories', 'id', _is_int64, 'a whole number of at most 64 bits'),
    ('categories', 'name', lambda v: isinstance(v, str), 'a text'),
)


def other_type(value, known):
    """The end of a message about a reference that would be known as a text, or as a number."""
    if value in {str(i) for i in known}:
        return '; there it is a number, here it is a text: write both in one way'
    if str(value) in known:
        return '; there it is a text, here it is a number: write both in one way'
    return ''


def name(annotation):
    """An annotation as messages call it."""
    if 'id' in annotation:
        return f'annotation {annotation["id"]}'
    return f'annotation {str(annotation)[:100]}'


def size(image, path):
    """(height, width) of an entry of `images`; None where it is not stated.

    Raises DataError for a size that is no number.
    """
    stated = [image.get(side) for side in ('height', 'width')]
    if any(side in (None, '') for side in stated):
        return None
    where = f'{path}, image {image["id"]}'
    return tuple(number(side, 'each side', where) for side in stated)


def area(annotation, where):
    """The stated area, or None. NaN, which programs write for outlines without area, stays."""
    stated = annotation.get('area')
    if isinstance(stated, float) and not math.isfinite(stated):
        return stated
    return number(stated or 0, 'area', where)


def bbox(annotation, where, changes):
    """x, y, width, height of an annotation: its bbox, or the box around its segmentation."""
    stated = annotation.get('bbox')
    outline = annotation.get('segmentation')
    if stated or not outline:
        return _four_numbers(stated, where)
    changes[Change.POLYGON] += 1
    if isinstance(outline, dict):
        return _around_mask(outline, where)
    return _around_polygons(outline, where)


def region(annotation, path, changes):
    """(category id, segmentation) of an annotation; (None, its box as a polygon) without one."""
    outline = annotation.get('segmentation')
    if isinstance(outline, dict) or _is_polygons(outline):
        return annotation['category_id'], outline
    changes[Change.NO_OUTLINE] += 1
    x, y, width, height = bbox(annotation, f'{path}, {name(annotation)}', collections.Counter())
    right, bottom = x + width, y + height
    return None, [[x, y, right, y, right, bottom, x, bottom]]


def _is_polygons(outline):
    """Whether each is a list of three points or more; of two, pycocotools would make a box."""
    return (
        isinstance(outline, list)
        and len(outline) > 0
        and all(isinstance(polygon, list) and len(polygon) >= 6 for polygon in outline)
    )


def _four_numbers(stated, where):
    four = isinstance(stated, list) and len(stated) == 4
    if not four or not all(isinstance(v, int | float) and math.isfinite(v) for v in stated):
        raise DataError(
            f'{where} needs a bbox of four finite numbers x, y, width, height, found {stated!r}'
        )
    return stated


def _around_polygons(polygons, where):
    """x, y, width, height around polygons [x, y, x, y, ...], of which there may be several."""
    try:
        flat = [v for polygon in polygons for v in polygon]
        points = np.reshape(np.asarray(flat, float), (-1, 2))
    except (TypeError, ValueError) as error:
        raise DataError(
            f'{where} has no bbox, and its segmentation is not a list of polygons '
            f'[x, y, x, y, ...]: {str(polygons)[:100]}'
        ) from error
    if not len(points) or not np.all(np.isfinite(points)):
        raise DataError(f'{where} has no bbox, and its segmentation has no finite points')
    low, high = points.min(0), points.max(0)
    return [*low.tolist(), *(high - low).tolist()]


def _around_mask(encoded, where):
    """x, y, width, height around a run-length encoded mask {size, counts}."""
    try:
        height, width = encoded['size']
        if isinstance(encoded['counts'], list):  # not compressed
            encoded = mask.frPyObjects(encoded, height, width)
        return mask.toBbox(encoded).tolist()
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f'{where} has no bbox, and its segmentation is not a run-length encoded mask '
            f'{{size, counts}}: {str(encoded)[:100]}'
        ) from error
