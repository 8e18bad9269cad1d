"""CSV tables with one box per row.

The columns are named in a header, in any order; or they are the six of keras-retinanet, without a
header.
"""

import collections
import csv
import itertools
import os
import pathlib

from keras_efficientdet.data.formats.common import (
    id_of,
    ids_of,
    number,
    numbered,
    photo,
)
from keras_efficientdet.data.formats.image_files import find_image
from keras_efficientdet.data.source import Change, Source
from keras_efficientdet.errors import DataError
from keras_efficientdet.imaging.pil import upright_size

COLUMNS = {
    'path': ('path', 'filename', 'file_name', 'image', 'image_path', 'file'),
    'xmin': ('xmin', 'x1', 'x_min'),
    'ymin': ('ymin', 'y1', 'y_min'),
    'xmax': ('xmax', 'x2', 'x_max'),
    'ymax': ('ymax', 'y2', 'y_max'),
    'class': ('class', 'label', 'name', 'class_name', 'category'),
    'width': ('width', 'image_width'),
    'height': ('height', 'image_height'),
}
_NEEDED = ('path', 'xmin', 'ymin', 'xmax', 'ymax', 'class')


def read_csv(
    csv_file: str | os.PathLike,
    image_dir: str | os.PathLike | list | tuple | None = None,
    label_map: dict[int, str] | None = None,
) -> Source:
    """Reads a table of boxes, one per row, in pixels.

    With a header, as in tables of TensorFlow's object detection API, columns are found by name:
    path (or filename, image), xmin, ymin, xmax, ymax (or x1, ...), class (or label), and optionally
    width and height of the image. Without a header they are path, xmin, ymin, xmax, ymax, class, as
    in keras-retinanet. A row with only a path is an image without objects. Boxes are clipped to the
    image, and counted; images are numbered from 1, in the order of the file.

    Args:
      csv_file: the table.
      image_dir: folder that the paths are relative to, or several to look in. Default: that of the
        table, or images/ in it.
      label_map: {id: name}; the table may hold either. Default: the names in the table in
        alphabetical order, from 1 on. Give it if several tables belong together.
    Raises:
      DataError: names file and line: a column is missing, a value is not a number, an image is not
        there, a class is unknown.
    """
    csv_file = pathlib.Path(csv_file)
    rows = _read(csv_file)
    label_map = label_map or numbered(row['class'] for _, row in rows if row['class'])
    if not label_map:
        raise DataError(f'{csv_file}: no boxes, so no classes; give a label_map')
    _refuse_normalised(csv_file, rows)
    by_image = collections.defaultdict(list)
    for where, row in rows:
        by_image[row['path']].append((where, row))
    folders = _folders(csv_file, image_dir)
    ids = ids_of(label_map)
    changes: collections.Counter[Change] = collections.Counter()
    photos = [
        _photo(name, i, entries, folders, ids, changes)
        for i, (name, entries) in enumerate(by_image.items(), 1)
    ]
    return Source(photos, label_map, dict(changes))


def _folders(csv_file, image_dir):
    places = image_dir or [csv_file.parent, csv_file.parent / 'images']
    if not isinstance(places, list | tuple):
        places = [places]
    return [pathlib.Path(place) for place in places]


def has_boxes(csv_file):
    """Whether a csv file is a table of boxes, by its first row."""
    try:
        _, cells = _lines(csv_file, 1)[0]
        return bool(_columns(csv_file, cells))
    except DataError:
        return False


def class_list(csv_file):
    """{id: name} of a table of rows `name,id`, as in keras-retinanet; None for other tables."""
    try:
        rows = [cells for _, cells in _lines(csv_file)]
    except DataError:
        return None
    if any(len(cells) != 2 or not cells[1].isdigit() for cells in rows):
        return None
    return {int(i): name for name, i in sorted(rows, key=lambda cells: int(cells[1]))}


def class_names(csv_file):
    """The class names in a table of boxes."""
    return {row['class'] for _, row in _read(pathlib.Path(csv_file)) if row['class']}


def _lines(path, most=None):
    """[(line number, cells)] of all rows that are not empty, or of the first `most`."""
    try:
        with path.open(newline='', encoding='utf-8-sig') as file:
            reader = csv.reader(file)
            stripped = ((reader.line_num, [cell.strip() for cell in row]) for row in reader)
            filled = ((line, cells) for line, cells in stripped if any(cells))
            lines = list(itertools.islice(filled, most))
    except FileNotFoundError as error:
        raise DataError(f'{path}: no such table') from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f'{path}: not a csv file: {error}') from error
    if not lines:
        raise DataError(f'{path}: the table is empty')
    return lines


def _read(path):
    """[(where, {column: text})] of the rows; `where` is the file and the line."""
    lines = _lines(path)
    columns, has_header = _columns(path, lines[0][1])
    rows = []
    for line, cells in lines[has_header:]:
        where = f'{path}, line {line}'
        if len(cells) <= max(columns.values()):
            raise DataError(
                f'{where}: {len(cells)} columns, expected at least {max(columns.values()) + 1}'
            )
        rows.append((where, {name: cells[i] for name, i in columns.items()}))
    return rows


def _columns(path, first):
    """({our name: index}, whether the first row is a header)"""
    lower = [cell.lower() for cell in first]
    columns = {}
    for column, names in COLUMNS.items():
        known = [name for name in names if name in lower]
        if known:
            columns[column] = lower.index(known[0])
    missing = [name for name in _NEEDED if name not in columns]
    if not missing:
        return columns, True
    if len(first) == len(_NEEDED) and all(not cell or _is_number(cell) for cell in first[1:5]):
        return {name: i for i, name in enumerate(_NEEDED)}, False
    raise DataError(
        f'{path}, line 1: no column for {", ".join(missing)}; found {first}, expected a header '
        f'with {", ".join(_NEEDED)}, or rows of these six without a header'
    )


def _is_number(text):
    try:
        return float(text) is not None
    except ValueError:
        return False


def _refuse_normalised(path, rows):
    values = [row[side] for _, row in rows for side in _NEEDED[1:5] if row[side]]
    if not values or not all(_is_number(value) and 0 <= float(value) <= 1 for value in values):
        return
    # Zeros and ones alone may be pixels of the first boxes in a corner.
    if any(not float(value).is_integer() for value in values):
        raise DataError(f'{path}: all coordinates are between 0 and 1, expected pixels')


def _category_id(text, ids, where):
    """The category id of a name, or of an id as text."""
    if text not in ids and text.isdigit() and int(text) in ids.values():
        return int(text)
    return id_of(text, ids, where)


def _photo(name, id, entries, folders, ids, changes):
    where, first = entries[0]
    image = find_image([name], folders, where)
    if first.get('width') and first.get('height'):
        size = tuple(int(number(first[side], side, where)) for side in ('height', 'width'))
    else:
        size = upright_size(image)
    rows = []
    for where, row in entries:
        if any(row[column] for column in _NEEDED[1:]):
            box = [number(row[side], side, where) for side in ('ymin', 'xmin', 'ymax', 'xmax')]
            rows.append((box, _category_id(row['class'], ids, where), None, False))
    return photo(image, id, size, rows, changes)
