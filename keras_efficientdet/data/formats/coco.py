"""COCO annotation files. Every data format is a file like this one: a function that yields photos and their classes."""

import collections
import json
import math
import pathlib

from keras_efficientdet.data.formats.common import file_in, number, photo, text_of
from keras_efficientdet.data.source import Source
from keras_efficientdet.errors import DataError


def read_coco(annotation_file, image_dir):
    """Reads a COCO `instances` file.

    Boxes are cut to the picture; those without area and those of unknown pictures are left out and counted. Ids may have
    gaps. Crowd boxes stay, marked.

    Args:
      annotation_file: json with images, annotations (bbox = x, y, width, height in pixels) and categories.
      image_dir: folder that each image's `file_name` is relative to, or a list of folders of which that is one.
    Returns:
      Source: photos in the order of the file, {category id: name} in ascending order of ids, and counts of what was changed.
    Raises:
      DataError: the file is no COCO file, or an annotation names a category or an image that it does not list; or
        none of several folders has the pictures.
    """
    content = _read(pathlib.Path(annotation_file))
    label_map = {c['id']: c['name'] for c in sorted(content['categories'], key=lambda c: c['id'])}
    _unique(annotation_file, 'image id', [image['id'] for image in content['images']])
    for key in ('id', 'name'):
        _unique(annotation_file, f'category {key}', [c[key] for c in content['categories']])
    by_image = collections.defaultdict(list)
    for annotation in content['annotations']:
        by_image[annotation['image_id']].append(annotation)
    unlisted = set(by_image) - {image['id'] for image in content['images']}
    if unlisted:
        raise DataError(
            f'{annotation_file}: annotations of {len(unlisted)} images that `images` does not list, like '
            f'image_id {min(unlisted, key=str)}'
        )
    image_dir = _folder_of(content['images'], image_dir, annotation_file)
    changes = collections.Counter()
    photos = [
        _photo(image, by_image[image['id']], label_map, image_dir, changes, annotation_file)
        for image in content['images']
    ]
    return Source(photos, label_map, dict(changes))


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
    missing = [
        k for k in _NEEDED if not isinstance(content, dict) or not isinstance(content.get(k), list)
    ]
    if missing:
        raise DataError(f'{path}: not a COCO file, {", ".join(missing)} missing')
    for kind, keys in _NEEDED.items():
        for entry in content[kind]:
            if not isinstance(entry, dict) or any(k not in entry for k in keys):
                raise DataError(
                    f'{path}: an entry of `{kind}` needs {", ".join(keys)}, found {str(entry)[:200]}'
                )
    for kind, key, fits, wanted in _KINDS:
        for entry in content[kind]:
            if not fits(entry[key]):
                raise DataError(
                    f'{path}: `{key}` of an entry of `{kind}` must be {wanted}, found {str(entry)[:200]}'
                )
    return content


def _is_size(value):
    return isinstance(value, int | float) and value >= 1


_KINDS = (
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
    best = max(image_dir, key=lambda folder: _found(folder, names))  # of several the first
    if _found(best, names):
        return best
    raise DataError(
        f'{annotation_file}: its pictures, like {names[:1]}, are in none of {", ".join(map(str, image_dir))}'
    )


def _found(folder, names):
    return sum(file_in(folder, name).is_file() for name in names)


def _unique(annotation_file, what, values):
    again = [value for value, count in collections.Counter(values).items() if count > 1]
    if again:
        raise DataError(f'{annotation_file}: {what} {again[0]!r} is listed more than once')


def _photo(image, annotations, label_map, image_dir, changes, annotation_file):
    rows = []
    for a in annotations:
        if a['category_id'] not in label_map:
            raise DataError(
                f'{annotation_file}: annotation {a["id"]} has category_id {a["category_id"]}, which is not in '
                f'categories ({", ".join(map(str, label_map))})'
            )
        x, y, w, h = _numbers(a, annotation_file)
        area, crowd = (
            number(a.get(key) or 0, key, f'{annotation_file}, annotation {a["id"]}')
            for key in ('area', 'iscrowd')
        )
        rows.append(((y, x, y + h, x + w), a['category_id'], area, bool(crowd)))
    return photo(
        file_in(image_dir, image['file_name']),
        image['id'],
        (image['height'], image['width']),
        rows,
        changes,
    )


def _numbers(annotation, annotation_file):
    """The four numbers of a bbox. Raises DataError for anything else."""
    bbox = annotation['bbox']
    if (
        not isinstance(bbox, list)
        or len(bbox) != 4
        or any(not isinstance(v, int | float) or not math.isfinite(v) for v in bbox)
    ):
        raise DataError(
            f'{annotation_file}: annotation {annotation["id"]} needs a bbox of four finite numbers x, y, width, '
            f'height, found {bbox!r}'
        )
    return bbox
