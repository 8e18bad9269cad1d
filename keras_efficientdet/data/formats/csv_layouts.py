"""Which column of a table of boxes means what: one row of LAYOUTS for each kind of table."""

import collections.abc
import typing

from keras_efficientdet.errors import DataError

# Our name of a column: the names that it has in headers, the usual one first.
COLUMNS = {
    'path': (
        *('path', 'filename', 'file_name', 'image', 'image_path', 'file'),
        *('image_name', 'imageid', 'image_id'),
    ),
    'xmin': ('xmin', 'x1', 'x_min', 'x', 'left'),
    'ymin': ('ymin', 'y1', 'y_min', 'y', 'top'),
    'xmax': ('xmax', 'x2', 'x_max', 'right'),
    'ymax': ('ymax', 'y2', 'y_max', 'bottom'),
    'bbox': ('bbox',),  # [x, y, width, height] in one cell
    'box_width': ('w', 'box_width', 'bbox_width'),
    'box_height': ('h', 'box_height', 'bbox_height'),
    'class': ('class', 'label', 'name', 'class_name', 'category', 'labelname'),
    'width': ('width', 'image_width'),
    'height': ('height', 'image_height'),
    'crowd': ('isgroupof',),
    'split': ('split', 'ml_use'),
}
_CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')
# One of these sets of columns states the box.
BOXES = (_CORNERS, ('xmin', 'ymin', 'box_width', 'box_height'), ('bbox',))
NEEDED = ('path', *_CORNERS, 'class')
# The splits of AutoML by its name of them; what is not assigned belongs to none.
SPLITS = {
    **{'TRAIN': 'train', 'TRAINING': 'train'},
    **{'VALIDATE': 'val', 'VALIDATION': 'val', 'VALID': 'val', 'VAL': 'val'},
    'TEST': 'test',
}


class Layout(typing.NamedTuple):
    """A kind of table, as it is recognised by its first row."""

    name: str
    columns: collections.abc.Callable  # cells of the first row -> {our name: index}, or None
    has_header: bool
    normalised: bool = False  # coordinates are fractions of the image


def layout_of(path, first):
    """(Layout, its columns) of a table by the cells of its first row.

    Raises DataError where it is none of the known kinds.
    """
    for layout in LAYOUTS:
        columns = layout.columns(first)
        if columns:
            return layout, columns
    if 'region_shape_attributes' in first:
        raise DataError(f"{path}: VIA's own table; export the annotations as COCO")
    missing = [name for name in NEEDED if name not in _named(first)]
    raise DataError(
        f'{path}, line 1: no column for {", ".join(missing)}; found {first}, expected a header '
        f'with {", ".join(NEEDED)}, or rows of these six without a header'
    )


def _named(first):
    """{our name: index} of a header; of several columns for one thing the usual name counts."""
    header = [cell.lower().replace(' ', '_') for cell in first]
    columns = {}
    for column, names in COLUMNS.items():
        known = [name for name in names if name in header]
        if known:
            columns[column] = header.index(known[0])
    return columns


def _header(first):
    """Columns by their names."""
    columns = _named(first)
    if 'xmax' not in columns and 'bbox' not in columns and 'box_width' not in columns:
        # Beside x and y alone, width and height are those of the box.
        for side in ('width', 'height'):
            if side in columns:
                columns[f'box_{side}'] = columns.pop(side)
    has_box = any(all(name in columns for name in box) for box in BOXES)
    # Tables of one class, with the box in one cell, have no column for it.
    has_class = 'class' in columns or 'bbox' in columns
    return columns if 'path' in columns and has_box and has_class else None


def _open_images(first):
    columns = _header(first)
    return columns if {'imageid', 'labelname'} <= {cell.lower() for cell in first} else None


def _keras_retinanet(first):
    numbers = len(first) == len(NEEDED) and all(not cell or _is_number(cell) for cell in first[1:5])
    return {name: i for i, name in enumerate(NEEDED)} if numbers else None


def _make_sense(first):
    numbers = len(first) == 8 and all(_is_number(first[i]) for i in (1, 2, 3, 4, 6, 7))
    names = 'class', 'xmin', 'ymin', 'box_width', 'box_height', 'path', 'width', 'height'
    return {name: i for i, name in enumerate(names)} if numbers else None


def _automl(first):
    """set, path, class, then the corners x, y clockwise, of which two may be empty."""
    if len(first) != 11 or first[0].upper() not in {*SPLITS, 'UNASSIGNED'}:
        return None
    return {'split': 0, 'path': 1, 'class': 2, 'xmin': 3, 'ymin': 4, 'xmax': 7, 'ymax': 8}


LAYOUTS = (
    Layout('OpenImages', _open_images, has_header=True, normalised=True),
    Layout('columns by name', _header, has_header=True),
    Layout('keras-retinanet', _keras_retinanet, has_header=False),
    Layout('make-sense', _make_sense, has_header=False),
    Layout('AutoML', _automl, has_header=False, normalised=True),
)


def _is_number(text):
    try:
        return float(text.replace(',', '.')) is not None
    except ValueError:
        return False
