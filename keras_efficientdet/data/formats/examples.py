"""Examples made in Python: an iterable of dicts."""

import collections
import pathlib

import numpy as np

from keras_efficientdet.data.formats.common import ids_of, number, numbered, own_id, photo
from keras_efficientdet.data.source import Source
from keras_efficientdet.errors import DataError
from keras_efficientdet.imaging.pil import upright_size

_KEYS = {'image', 'boxes', 'labels'}


def read_examples(examples, label_map=None):
    """Reads an iterable of dicts {image, boxes, labels}.

    image: a path, or uint8 [H, W, 3] or [H, W]; arrays stay in memory until they are written. boxes: [N, 4], ymin xmin ymax
    xmax in pixels, cut to the picture, and counted. labels: N names, or ids of label_map. Pictures are numbered from 1.

    Args:
      label_map: {id: name}. Default: the names in alphabetical order, from 1 on.
    Raises:
      DataError: naming the number of the example, from 0 on, and what is wrong with it.
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
    changes = collections.Counter()
    return Source(
        [_photo(i, example, label_map, changes) for i, example in enumerate(examples)],
        label_map,
        dict(changes),
    )


def _from_names(examples):
    labels = [(i, label) for i, example in enumerate(examples) for label in example['labels']]
    for i, label in labels:
        if not isinstance(label, str):
            raise DataError(f'example {i}: label {label!r} is an id, so a label_map is needed')
    if not labels:
        raise DataError('no example has a label; give a label_map')
    return numbered(label for _, label in labels)


def _photo(i, example, label_map, changes):
    where, image = f'example {i}', example['image']
    is_array = isinstance(image, np.ndarray)
    if is_array and (
        image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,))
    ):
        raise DataError(
            f'{where}: image must be uint8 [H, W, 3] or [H, W], found {image.dtype} {list(image.shape)}'
        )
    boxes, labels = [list(box) for box in example['boxes']], list(example['labels'])
    if len(boxes) != len(labels) or any(len(box) != 4 for box in boxes):
        raise DataError(
            f'{where}: {len(labels)} labels need as many boxes of four numbers, found {str(boxes)[:200]}'
        )
    rows = [
        (
            [number(v, 'each side of a box', where) for v in box],
            _id(label, label_map, where),
            None,
            False,
        )
        for box, label in zip(boxes, labels, strict=True)
    ]
    size = image.shape[:2] if is_array else upright_size(image)
    path = pathlib.Path(where if is_array else image)
    return photo(path, i + 1, size, rows, changes, image if is_array else None)


def _id(label, label_map, where):
    if isinstance(label, str):
        return own_id(label, ids_of(label_map), where)
    if label not in label_map:
        raise DataError(
            f'{where}: label {label!r} is not among the ids {str(list(label_map))[:300]}'
        )
    return int(label)
