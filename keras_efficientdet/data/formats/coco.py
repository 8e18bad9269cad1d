"""COCO annotation files."""

import collections
import json
import math
import os
import pathlib

from keras_efficientdet.data.formats.common import number, photo, text_of
from keras_efficientdet.data.formats.image_files import file_in
from keras_efficientdet.data.source import Change, Source
from keras_efficientdet.errors import DataError


def read_coco(
    annotation_file: str | os.PathLike, image_dir: str | os.PathLike | list | tuple
) -> Source:
    """Reads a COCO `instances` file.

    Boxes are clipped to the image; those without area are left out; both are counted. Ids may have
    gaps. Crowd boxes stay, marked.

    Args:
      annotation_file: json with images, annotations (bbox = x, y, width, height in pixels) and
        categories.
      image_dir: folder that each image's `file_name` is relative to, or a list of folders, of which
        the one that holds the images is used.
    Returns:
      Source: photos in the order of the file; {category id: name} in ascending order of ids.
    Raises:
      DataError: the file is not a COCO file; an annotation names a category or an image that the
        file does not list; none of several folders holds the images.
    """
    annotation_file = pathlib.Path(annotation_file)
    content = _read(annotation_file)
    categories = sorted(content['categories'], key=lambda category: category['id'])
    label_map = {category['id']: category['name'] for category in categories}
    _check_unique(annotation_file, 'image id', [image['id'] for image in content['images']])
    for key in ('id', 'name'):
        _check_unique(annotation_file, f'category {key}', [c[key] for c in categories])
    by_image = _by_image(content, annotation_file)
    folder = _folder_of(content['images'], image_dir, annotation_file)
    changes: collections.Counter[Change] = collections.Counter()
    photos = [
        _photo(image, by_image[image['id']], label_map, folder, changes, annotation_file)
        for image in content['images']
    ]
    return Source(photos, label_map, dict(changes))


def _by_image(content, annotation_file):
    """defaultdict {image id: annotations}."""
    by_image = collections.defaultdict(list)
    for annotation in content['annotations']:
        by_image[annotation['image_id']].append(annotation)
    unlisted = set(by_image) - {image['id'] for image in content['images']}
    if unlisted:
        raise DataError(
            f'{annotation_file}: annotations of {len(unlisted)} images that `images` does not '
            f'list, like image_id {min(unlisted, key=str)}'
        )
    return by_image


_NEEDED = {
    'images': ('id', 'file_name', 'height', 'width'),
    'annotations': ('id', 'image_id', 'category_id', 'bbox'),
    'categories': ('id', 'name'),
}


def _read(path):
    try:
        text = text_of(path)
    except FileNotFoundError as error:
        raise DataError(f'{path}: no such annotation file') from error
    try:
        content = json.loads(text)
    except ValueError as error:
        raise DataError(f'{path}: not a json file: {error}') from error
    _check_entries(path, content)
    return content


def _check_entries(path, content):
    """Raises DataError for a missing list, an entry without a key, or a value of a wrong type."""
    lists = content if isinstance(content, dict) else {}
    missing = [name for name in _NEEDED if not isinstance(lists.get(name), list)]
    if missing:
        raise DataError(f'{path}: not a COCO file, {", ".join(missing)} missing')
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


def _is_size(value):
    return isinstance(value, int | float) and value >= 1


# (list, key, test, what the value must be)
_VALUES = (
    ('images', 'file_name', lambda v: isinstance(v, str) and v, 'a text'),
    ('images', 'height', _is_size, 'a number from 1 on'),
    ('images', 'width', _is_size, 'a number from 1 on'),
    ('images', 'id', lambda v: isinstance(v, int | str), 'a whole number or a text'),
    ('categories', 'id', lambda v: isinstance(v, int), 'a whole number'),
    ('categories', 'name', lambda v: isinstance(v, str), 'a text'),
)


def _folder_of(images, image_dir, annotation_file):
    if not isinstance(image_dir, list | tuple):
        return image_dir
    names = [image['file_name'] for image in images[:20]]
    best = max(image_dir, key=lambda folder: _count_files(folder, names))  # the first of equals
    if _count_files(best, names):
        return best
    raise DataError(
        f'{annotation_file}: its images, like {names[:1]}, are in none of '
        f'{", ".join(map(str, image_dir))}'
    )


def _count_files(folder, names):
    return sum(file_in(folder, name).is_file() for name in names)


def _check_unique(annotation_file, what, values):
    again = [value for value, count in collections.Counter(values).items() if count > 1]
    if again:
        raise DataError(f'{annotation_file}: {what} {again[0]!r} is listed more than once')


def _photo(image, annotations, label_map, folder, changes, annotation_file):
    rows = [_row(annotation, label_map, annotation_file) for annotation in annotations]
    path = file_in(folder, image['file_name'])
    return photo(path, image['id'], (image['height'], image['width']), rows, changes)


def _row(annotation, label_map, annotation_file):
    where = f'{annotation_file}, annotation {annotation["id"]}'
    category_id = annotation['category_id']
    if category_id not in label_map:
        raise DataError(
            f'{annotation_file}: annotation {annotation["id"]} has category_id {category_id}, '
            f'which is not in categories ({", ".join(map(str, label_map))})'
        )
    x, y, width, height = _bbox(annotation, annotation_file)
    area = number(annotation.get('area') or 0, 'area', where)
    crowd = number(annotation.get('iscrowd') or 0, 'iscrowd', where)
    return (y, x, y + height, x + width), category_id, area, bool(crowd)


def _bbox(annotation, annotation_file):
    """The four numbers of a bbox. Raises DataError for anything else."""
    bbox = annotation['bbox']
    four = isinstance(bbox, list) and len(bbox) == 4
    if not four or not all(isinstance(v, int | float) and math.isfinite(v) for v in bbox):
        raise DataError(
            f'{annotation_file}: annotation {annotation["id"]} needs a bbox of four finite numbers '
            f'x, y, width, height, found {bbox!r}'
        )
    return bbox
