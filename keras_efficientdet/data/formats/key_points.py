"""Key points of COCO files and of csv tables, as objects whose boxes have no size."""

import collections
import csv
import os
import pathlib
import typing

import numpy as np

from keras_efficientdet.data.formats import coco_entries
from keras_efficientdet.data.formats.common import each, id_of, ids_of, number, numbered
from keras_efficientdet.data.formats.image_files import ImageFiles, measured
from keras_efficientdet.data.source import Change, Photo, Source
from keras_efficientdet.errors import DataError

COLUMNS = ('image', 'class', 'x', 'y')


class _Image(typing.NamedTuple):
    """An image and its points, [(where they stand in the file, name, x, y)]."""

    name: str
    id: int | str
    size: tuple | None  # (height, width), if it is stated
    points: list


def read_key_points(
    file: str | os.PathLike,
    image_dir: str | os.PathLike,
    label_map: dict[int, str] | None = None,
) -> Source:
    """Reads key points, for `head: points`. Their names are the classes.

    Points outside of their image are left out and counted.

    Args:
      file: a COCO json file whose categories name their `keypoints` and whose annotations have
        [x, y, visibility, ...] of each (visibility 0, not annotated, is skipped; 1, hidden, is
        used); or a csv table with the columns image, class, x, y (pixels), one point in a row. A
        row with an image alone is an image without points.
      image_dir: folder that the names of the images are relative to.
      label_map: {id: name of a point}. Default: those of the file, from 1 on, in COCO's order or in
        alphabetical order. With several categories, a name is 'category point'.
    Returns:
      Source with boxes of ymin = ymax, xmin = xmax.
    Raises:
      DataError: names file and line or annotation: a column is missing, a value is not a number, a
        class is unknown, or the points of an annotation are not three numbers for each name.
    """
    file = pathlib.Path(file)
    changes: collections.Counter[Change] = collections.Counter()
    names, images = (_of_table if file.suffix == '.csv' else _of_coco)(file)
    label_map = label_map or names
    if not label_map:
        raise DataError(f'{file}: no key points, so no classes; give a label_map')
    files, ids = ImageFiles([image_dir], changes), ids_of(label_map)
    photos = each(lambda image: _photo(image, files, ids, changes), images.values())
    return Source(photos, label_map, dict(+changes))


def _of_table(file):
    """({id: name}, {name of the image: _Image})"""
    with file.open(newline='', encoding='utf-8-sig') as lines:
        table = csv.DictReader(lines)
        missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
        if missing:
            raise DataError(
                f'{file}: a table of key points has the columns {", ".join(COLUMNS)} in its first '
                f'line, found {", ".join(table.fieldnames or ())}'
            )
        rows = [(f'{file}, line {table.line_num}', row) for row in table]
    images: dict[str, _Image] = {}
    for where, row in rows:
        name, kind = row['image'], row['class']
        image = images.setdefault(name, _Image(name, len(images) + 1, None, []))
        if kind:
            x, y = (number(row[side], side, where) for side in 'xy')
            image.points.append((where, kind, x, y))
    return numbered(row['class'] for _, row in rows if row['class']), images


def _of_coco(file):
    """({id: name}, {image id: _Image}) of a COCO file."""
    content = coco_entries.read(file)
    categories = [c for c in content['categories'] if c.get('keypoints')]
    several = len(categories) > 1
    names = {
        c['id']: [f'{c["name"]} {name}' if several else name for name in c['keypoints']]
        for c in categories
    }
    flat = [name for group in names.values() for name in group]
    images = {
        image['id']: _Image(image['file_name'], image['id'], coco_entries.size(image, file), [])
        for image in content['images']
    }
    each(lambda row: _add(row, names, images, file), content['annotations'])
    return dict(enumerate(flat, 1)), images


def _add(annotation, names, images, file):
    """Adds the points of an annotation, if it has any."""
    where = f'{file}, {coco_entries.name(annotation)}'
    values = annotation.get('keypoints')
    if not values:
        return
    group = names.get(annotation['category_id'])
    if group is None:
        raise DataError(
            f'{where} has keypoints, but its category {annotation["category_id"]!r} names none'
        )
    if not isinstance(values, list) or len(values) != 3 * len(group):
        raise DataError(
            f'{where}: expected x, y, visibility for each of the {len(group)} key points of its '
            f'category, found {str(values)[:100]}'
        )
    if annotation['image_id'] not in images:
        raise DataError(f'{where} is of image {annotation["image_id"]!r}, which is not in `images`')
    for i, name in enumerate(group):
        x, y, seen = (number(v, 'each of keypoints', where) for v in values[3 * i : 3 * i + 3])
        if seen:
            images[annotation['image_id']].points.append((where, name, x, y))


def _photo(image, files, ids, changes):
    path = files.find([image.name], f'image {image.name}')
    height, width = measured(path, image.size, changes)
    points, kinds = [], []
    for where, kind, x, y in image.points:
        kind = id_of(kind, ids, where)
        if 0 <= x <= width and 0 <= y <= height:
            points.append([y, x, y, x])
            kinds.append(kind)
        else:
            changes[Change.POINT_OUTSIDE] += 1
    boxes = np.reshape(np.array(points, float), (-1, 4))
    count = len(kinds)
    return Photo(
        path, image.id, height, width, boxes, tuple(kinds), (1.0,) * count, (False,) * count
    )
