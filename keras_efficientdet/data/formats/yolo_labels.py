"""The label files of a YOLO data set: lines `class cx cy w h`, in normalised coordinates."""

from keras_efficientdet.data.formats.common import each, number, text_of
from keras_efficientdet.data.source import Change
from keras_efficientdet.errors import DataError

# By which a normalised coordinate may leave 0..1: programs round, and let boxes be drawn over the
# edge. What is further out was never normalised.
_OVER = 0.01


def rows(file, size, label_map, has_key_points, changes):
    """The rows of a label file, as `common.photo` takes them; none of a file that is not there.

    Args:
      size: (height, width) of the image.
      has_key_points: whether values after the box are key points.
    Raises:
      DataError: names the file and all of its lines that cannot be read.
    """
    if not file.is_file():
        return []
    lines = [(i, line) for i, line in enumerate(text_of(file).splitlines(), 1) if line.strip()]
    return each(
        lambda item: _row(
            item[1].split(), f'{file}, line {item[0]}', size, label_map, has_key_points, changes
        ),
        lines,
    )


def _row(fields, where, size, label_map, has_key_points, changes):
    category_id, *values = (number(text, 'each value', where) for text in fields)
    if has_key_points and len(values) > 4:
        changes[Change.KEY_POINTS] += 1
        values = values[:4]
    if category_id not in label_map:
        raise DataError(
            f'{where}: class {fields[0]} is not among the classes {str(label_map)[:300]}, which '
            'count from 0'
        )
    if len(values) == 5:  # a box with its score, as detectors save them
        changes[Change.SCORE] += 1
        values = values[:4]
    if any(not -_OVER <= value <= 1 + _OVER for value in values):
        raise DataError(
            f'{where}: expected normalised coordinates between 0 and 1, found '
            f'{" ".join(fields[1:])[:100]}; are these pixels?'
        )
    height, width = size
    ymin, xmin, ymax, xmax = _normalised_box(values, where, changes)
    box = (ymin * height, xmin * width, ymax * height, xmax * width)
    return box, int(category_id), None, False


def _normalised_box(values, where, changes):
    """(ymin, xmin, ymax, xmax) of a box `cx cy w h`, or of the corners `x y x y x y ...`."""
    if len(values) == 4:
        cx, cy, w, h = values
        return cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2
    if len(values) < 6 or len(values) % 2:
        raise DataError(
            f'{where}: expected `class cx cy w h` or a polygon `class x y x y x y ...`, found '
            f'{len(values) + 1} values'
        )
    changes[Change.POLYGON] += 1
    xs, ys = values[::2], values[1::2]
    return min(ys), min(xs), max(ys), max(xs)
