"""CSV tables with one box per row, of the layouts in `csv_layouts`."""

import collections
import csv
import itertools
import json
import os
import pathlib

from keras_efficientdet.data.formats import csv_layouts
from keras_efficientdet.data.formats.common import each, id_of, ids_of, number, numbered, photo
from keras_efficientdet.data.formats.image_files import ImageFiles, best_folder, measured
from keras_efficientdet.data.source import Change, Source
from keras_efficientdet.errors import DataError
from keras_efficientdet.imaging.pil import upright_size

_SEPARATORS = (',', ';', '\t', '|')
_ONLY_CLASS = 'object'  # the class of tables without a column for it


def read_csv(
    csv_file: str | os.PathLike,
    image_dir: str | os.PathLike | list | tuple | None = None,
    label_map: dict[int, str] | None = None,
    split: str | None = None,
) -> Source:
    """Reads a table of boxes, one per row, separated by commas, semicolons, tabs or bars.

    With a header, as in tables of TensorFlow's object detection API, columns are found by name:
    path (or filename, image), class (or label), the box in pixels as xmin, ymin, xmax, ymax (or
    x1, ...), as x, y, w, h, or as bbox with [x, y, width, height] in one cell, and optionally
    width and height of the image. Without a header they are those of keras-retinanet (path, xmin,
    ymin, xmax, ymax, class), make-sense or AutoML. A row with only a path is an image without
    objects. Swapped corners are put right, boxes are clipped to the image, and images under
    another spelling of their name are found; each is counted. Images are numbered from 1, in the
    order of the file.

    Args:
      csv_file: the table.
      image_dir: folder that the paths are relative to, or several to look in. Default: that of the
        table, or images/ in it.
      label_map: {id: name}; the table may hold either. Default: the names in the table in
        alphabetical order, from 1 on. Give it if several tables belong together.
      split: train, val or test, of a table that has a column of splits. Default: all rows.
    Raises:
      DataError: names file and lines: a column is missing, a value is not a number, an image is not
        there, a class is unknown.
    """
    csv_file = pathlib.Path(csv_file)
    layout, rows = _read(csv_file)
    label_map = label_map or numbered(row['class'] for _, row in rows if row['class'])
    if not label_map:
        raise DataError(f'{csv_file}: no boxes, so no classes; give a label_map')
    if not layout.normalised:
        _refuse_normalised(csv_file, rows)
    if split:
        rows = _of_split(csv_file, rows, split)
    changes: collections.Counter[Change] = collections.Counter()
    by_image = _by_image(rows, _image_files(csv_file, image_dir, rows, changes))
    ids = ids_of(label_map)
    photos = each(
        lambda item: _photo(item[1][0], item[0], item[1][1], layout.normalised, ids, changes),
        enumerate(by_image.items(), 1),
    )
    return Source(photos, label_map, dict(+changes))


def _image_files(csv_file, image_dir, rows, changes):
    places = image_dir or [csv_file.parent, csv_file.parent / 'images']
    if not isinstance(places, list | tuple):
        places = [places]
    names = [row['path'] for _, row in rows[:20]]
    return ImageFiles(places, changes, best_folder(places, names))


def _by_image(rows, files):
    """{image: [(where, row)]}; an image may be named in several ways."""
    names = {}
    for where, row in rows:
        names.setdefault(row['path'], where)
    paths = dict(
        zip(names, each(lambda item: files.find([item[0]], item[1]), names.items()), strict=True)
    )
    by_image = collections.defaultdict(list)
    for where, row in rows:
        by_image[paths[row['path']]].append((where, row))
    return by_image


def has_boxes(csv_file):
    """Whether a csv file is a table of boxes, by its first row."""
    try:
        _, cells = _lines(csv_file, 1)[0]
        return bool(csv_layouts.layout_of(csv_file, cells))
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
    return {row['class'] for _, row in _read(pathlib.Path(csv_file))[1] if row['class']}


def splits(csv_file):
    """The splits that a table of boxes has in a column, in the order of the table."""
    _, rows = _read(pathlib.Path(csv_file))
    found = (csv_layouts.SPLITS.get(row.get('split', '').upper()) for _, row in rows)
    return list(dict.fromkeys(name for name in found if name))


def _of_split(path, rows, split):
    kept = [
        (where, row)
        for where, row in rows
        if csv_layouts.SPLITS.get(row.get('split', '').upper()) == split
    ]
    if not kept:
        raise DataError(f'{path}: no rows of split {split!r}')
    return kept


def _lines(path, most=None):
    """[(line number, cells)] of all rows that are not empty, or of the first `most`."""
    try:
        with path.open(newline='', encoding='utf-8-sig') as file:
            separator = _separator(file.readline())
            file.seek(0)
            reader = csv.reader(file, delimiter=separator)
            stripped = ((reader.line_num, [cell.strip() for cell in row]) for row in reader)
            filled = ((line, cells) for line, cells in stripped if any(cells))
            lines = list(itertools.islice(filled, most))
    except FileNotFoundError as error:
        raise DataError(f'{path}: no such table') from error
    except UnicodeDecodeError as error:
        raise DataError(
            f'{path}: not text in UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8'
        ) from error
    except csv.Error as error:
        raise DataError(f'{path}: not a csv file: {error}') from error
    if not lines:
        raise DataError(f'{path}: the table is empty')
    return lines


def _separator(line):
    """The separator of the most columns in the first line of a table."""
    return max(_SEPARATORS, key=lambda mark: len(next(csv.reader([line], delimiter=mark), ())))


def _read(path):
    """(Layout, [(where, {column: text})] of the rows); `where` is the file and the line."""
    lines = _lines(path)
    layout, columns = csv_layouts.layout_of(path, lines[0][1])

    def named(item):
        line, cells = item
        where = f'{path}, line {line}'
        if len(cells) <= max(columns.values()):
            raise DataError(
                f'{where}: {len(cells)} columns, expected at least {max(columns.values()) + 1}'
            )
        row = {name: cells[i] for name, i in columns.items()}
        return where, {'class': _ONLY_CLASS if _states_box(row) else '', **row}

    return layout, each(named, lines[layout.has_header :])


def _states_box(row):
    return any(row.get(name) for box in csv_layouts.BOXES for name in box)


def _refuse_normalised(path, rows):
    sides = csv_layouts.NEEDED[1:5]
    values = [row[side] for _, row in rows for side in sides if row.get(side)]
    if not values or not all(_is_fraction(value) for value in values):
        return
    # Zeros and ones alone may be pixels of the first boxes in a corner.
    if any(not float(value).is_integer() for value in values):
        raise DataError(f'{path}: all coordinates are between 0 and 1, expected pixels')


def _is_fraction(text):
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def _category_id(text, ids, where):
    """The category id of a name, or of an id as text."""
    if text not in ids and text.isdigit() and int(text) in ids.values():
        return int(text)
    return id_of(text, ids, where)


def _photo(image, id, entries, normalised, ids, changes):
    where, first = entries[0]
    size = _size(image, first, where, changes)
    scale = (*size, *size) if normalised else (1, 1, 1, 1)
    rows = []
    for where, row in entries:
        if row['class'] or _states_box(row):
            box = [side * by for side, by in zip(_box(row, where), scale, strict=True)]
            crowd = row.get('crowd') == '1'
            rows.append((box, _category_id(row['class'], ids, where), None, crowd))
    return photo(image, id, size, rows, changes)


def _size(image, row, where, changes):
    """(height, width): as stated, where the table has columns for them."""
    if 'width' not in row or 'height' not in row:
        return upright_size(image)
    stated = [row[side] and number(row[side], side, where) for side in ('height', 'width')]
    return measured(image, stated, changes)


def _box(row, where):
    """ymin, xmin, ymax, xmax of a row, however it states them."""
    if 'bbox' in row:
        x, y, width, height = _in_one_cell(row['bbox'], where)
        return y, x, y + height, x + width
    ymin, xmin = (_number(row, side, where) for side in ('ymin', 'xmin'))
    if 'ymax' in row and 'xmax' in row:
        ymax, xmax = (_number(row, side, where) for side in ('ymax', 'xmax'))
        return ymin, xmin, ymax, xmax
    height, width = (_number(row, side, where) for side in ('box_height', 'box_width'))
    return ymin, xmin, ymin + height, xmin + width


def _number(row, name, where):
    """A number, also with the decimal comma of tables that are separated by semicolons."""
    return number(row[name].replace(',', '.'), name, where)


def _in_one_cell(text, where):
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, list) or len(values) != 4:
        raise DataError(f'{where}: bbox must be [x, y, width, height], found {text!r}')
    return [number(value, 'each value of bbox', where) for value in values]
