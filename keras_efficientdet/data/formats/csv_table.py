"""CSV tables with one box a row: named columns in any order, or the six columns of keras-retinanet without a header."""

import collections
import csv
import itertools
import pathlib

from keras_efficientdet.data.formats.common import (
    find_picture,
    ids_of,
    number,
    numbered,
    own_id,
    photo,
)
from keras_efficientdet.data.source import Source
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


def read_csv(csv_file, image_dir=None, label_map=None):
    """Reads a table of boxes, one a row, in pixels.

    With a header the columns are found by name, in any order: path (or filename, image), xmin, ymin, xmax, ymax (or x1, ...),
    class (or label), and width and height of the picture where they are there, as in TensorFlow's object detection tables.
    Without one they are path, xmin, ymin, xmax, ymax, class, as in keras-retinanet. A row with a path alone is a picture
    without objects. Boxes are cut to the picture, and counted; pictures are numbered from 1, in the order of the file.

    Args:
      image_dir: folder, or several to look in, that the paths are relative to. Default: the table's own, or images/ in it.
      label_map: {id: name}; classes in the table may be either. Default: the names in the table in alphabetical order, from 1
        on. Give it wherever several tables belong together.
    Raises:
      DataError: naming file and line: a column that is not there, no number, a picture that is not there, an unknown class.
    """
    csv_file = pathlib.Path(csv_file)
    rows = _read(csv_file)
    names = {row['class'] for _, row in rows if row['class']}
    label_map = label_map or numbered(names)
    if not label_map:
        raise DataError(f'{csv_file}: no boxes, so no classes; give a label_map')
    places = image_dir or [csv_file.parent, csv_file.parent / 'images']
    folders = [
        pathlib.Path(place) for place in (places if isinstance(places, list | tuple) else [places])
    ]
    by_picture = collections.defaultdict(list)
    for where, row in rows:
        by_picture[row['path']].append((where, row))
    _refuse_normalized(csv_file, rows)
    changes, ids = collections.Counter(), ids_of(label_map)
    photos = [
        _photo(name, i, entries, folders, ids, changes)
        for i, (name, entries) in enumerate(by_picture.items(), 1)
    ]
    return Source(photos, label_map, dict(changes))


def has_boxes(csv_file):
    """Whether a csv file is such a table, by its first row."""
    try:
        return bool(_columns(csv_file, _lines(csv_file, 1)[0][1]))
    except DataError:
        return False


def class_list(csv_file):
    """{id: name} of a table of rows `name,id`, which keras-retinanet has beside that of the boxes; else None."""
    try:
        rows = [cells for _, cells in _lines(csv_file)]
    except DataError:
        return None
    if any(len(cells) != 2 or not cells[1].isdigit() for cells in rows):
        return None
    return {int(i): name for name, i in sorted(rows, key=lambda cells: int(cells[1]))}


def class_names(csv_file):
    """The names of the classes in a table: with those of other tables, what a label_map for all of them is made of."""
    return {row['class'] for _, row in _read(pathlib.Path(csv_file)) if row['class']}


def _lines(path, most=None):
    """[(number of the line, cells)] of those that are not empty, or of the first of them."""
    try:
        with path.open(newline='', encoding='utf-8-sig') as file:
            reader = csv.reader(file)
            written = (
                (reader.line_num, [cell.strip() for cell in row])
                for row in reader
                if any(map(str.strip, row))
            )
            lines = list(itertools.islice(written, most))
    except FileNotFoundError as error:
        raise DataError(f'{path}: no such table') from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f'{path}: not a csv file: {error}') from error
    if not lines:
        raise DataError(f'{path}: the table is empty')
    return lines


def _read(path):
    """[(where, {column: text})]"""
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
    columns = {
        ours: lower.index(known[0])
        for ours, names in COLUMNS.items()
        if (known := [n for n in names if n in lower])
    }
    missing = [name for name in _NEEDED if name not in columns]
    if not missing:
        return columns, True
    if len(first) == len(_NEEDED) and all(not cell or _is_number(cell) for cell in first[1:5]):
        return {name: i for i, name in enumerate(_NEEDED)}, False
    raise DataError(
        f'{path}, line 1: no column for {", ".join(missing)}; found {first}, expected a header with '
        f'{", ".join(_NEEDED)}, or rows of these six without a header'
    )


def _is_number(text):
    try:
        return float(text) is not None
    except ValueError:
        return False


def _refuse_normalized(path, rows):
    values = [row[side] for _, row in rows for side in _NEEDED[1:5] if row[side]]
    if (
        values
        and all(_is_number(v) and 0 <= float(v) <= 1 for v in values)
        and any(not float(v).is_integer() for v in values)
    ):
        raise DataError(f'{path}: all coordinates are between 0 and 1, expected pixels')


def _own_id(text, ids, where):
    """The id of a name, or of an id as text."""
    return (
        int(text)
        if text not in ids and text.isdigit() and int(text) in ids.values()
        else own_id(text, ids, where)
    )


def _photo(name, id, entries, folders, ids, changes):
    where, first = entries[0]
    picture = find_picture([name], folders, where)
    if first.get('width') and first.get('height'):
        size = tuple(int(number(first[side], side, where)) for side in ('height', 'width'))
    else:
        size = upright_size(picture)
    rows = []
    for where, row in entries:
        if any(row[key] for key in _NEEDED[1:]):
            box = [number(row[side], side, where) for side in ('ymin', 'xmin', 'ymax', 'xmax')]
            rows.append((box, _own_id(row['class'], ids, where), None, False))
    return photo(picture, id, size, rows, changes)
