"""Examples made in Python: an iterable of dicts."""

import collections
import collections.abc
import pathlib

import numpy as np

from keras_efficientdet.data.formats.common import each, id_of, ids_of, number, numbered, photo
from keras_efficientdet.data.source import Change, Source
from keras_efficientdet.errors import DataError
from keras_efficientdet.imaging.pil import upright_size

_KEYS = {'image', 'boxes', 'labels'}


def read_examples(
    examples: collections.abc.Iterable[dict], label_map: dict[int, str] | None = None
) -> Source:
    """Reads an iterable of dicts {image, boxes, labels}.

    Boxes are clipped to the image, and counted. Images are numbered from 1.

    Args:
      examples: dicts of
        image: a path, or uint8 [H, W, 3] or [H, W]; arrays stay in memory until they are written.
        boxes: [N, 4], ymin, xmin, ymax, xmax in pixels.
        labels: N names, or ids of label_map.
      label_map: {id: name}. Default: the names in alphabetical order, from 1 on.
    Raises:
      DataError: names the number of the example, from 0 on, and its fault.
    """
    examples = list(examples)
    for i, example in enumerate(examples):
        if not isinstance(example, dict) or set(example) != _KEYS:
            found = sorted(example) if isinstance(example, dict) else type(example).__name__
            raise DataError(
                f'example {i}: expected a dict with image, boxes and labels, found {found}'
            )
    if label_map is None:
        label_map = _from_names(examples)
    changes: collections.Counter[Change] = collections.Counter()
    photos = each(lambda item: _photo(item[0], item[1], label_map, changes), enumerate(examples))
    return Source(photos, label_map, dict(changes))


def _from_names(examples):
    labels = [(i, label) for i, example in enumerate(examples) for label in example['labels']]
    for i, label in labels:
        if not isinstance(label, str):
            raise DataError(f'example {i}: label {label!r} is an id, so a label_map is needed')
    if not labels:
        raise DataError('no example has a label; give a label_map')
    return numbered(label for _, label in labels)


def _photo(i, example, label_map, changes):
    where = f'example {i}'
    image = example['image']
    rows = _rows(example, where, label_map)
    if not isinstance(image, np.ndarray):
        return photo(pathlib.Path(image), i + 1, upright_size(image), rows, changes)
    shape_fits = image.ndim in (2, 3) and image.shape[2:] in ((), (3,))
    if image.dtype != np.uint8 or not shape_fits:
        raise DataError(
            f'{where}: image must be uint8 [H, W, 3] or [H, W], found {image.dtype} '
            f'{list(image.shape)}'
        )
    return photo(pathlib.Path(where), i + 1, image.shape[:2], rows, changes, image)


def _rows(example, where, label_map):
    boxes = [list(box) for box in example['boxes']]
    labels = list(example['labels'])
    if len(boxes) != len(labels) or any(len(box) != 4 for box in boxes):
        raise DataError(
            f'{where}: {len(labels)} labels need as many boxes of four numbers, found '
            f'{str(boxes)[:200]}'
        )
    rows = []
    for box, label in zip(boxes, labels, strict=True):
        sides = [number(side, 'each side of a box', where) for side in box]
        rows.append((sides, _category_id(label, label_map, where), None, False))
    return rows


def _category_id(label, label_map, where):
    if isinstance(label, str):
        return id_of(label, ids_of(label_map), where)
    if label not in label_map:
        raise DataError(
            f'{where}: label {label!r} is not among the ids {str(list(label_map))[:300]}'
        )
    return int(label)
