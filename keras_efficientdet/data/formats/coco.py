"""COCO annotation files."""

import collections
import dataclasses
import os
import pathlib

from keras_efficientdet.data.formats import coco_entries
from keras_efficientdet.data.formats.common import each, number, photo
from keras_efficientdet.data.formats.image_files import ImageFiles, best_folder, measured
from keras_efficientdet.data.source import Change, Source
from keras_efficientdet.errors import DataError


def read_coco(
    annotation_file: str | os.PathLike,
    image_dir: str | os.PathLike | list | tuple,
    masks: bool = False,
) -> Source:
    """Reads a COCO `instances` file, also as other programs write it.

    Swapped corners are put right, boxes are clipped to the image, and those without area are left
    out; an annotation without a bbox has the box around its segmentation; sizes that are not
    stated are those of the images; the root category of Roboflow, which has no boxes, is left out.
    All of these are counted. Ids may have gaps. Crowd boxes stay, marked.

    Args:
      annotation_file: json with images, annotations (bbox = x, y, width, height in pixels) and
        categories.
      image_dir: folder that each image's `file_name` is relative to, or a list of folders, of which
        the one that holds the images is used. An image that is not there under its stated name is
        found as by `ImageFiles`.
      masks: whether to keep the segmentations, for heads that learn from masks. Of overlapping
        objects the smaller one is seen; the box of one without a segmentation is ignored.
    Returns:
      Source: photos in the order of the file; {category id: name} in ascending order of ids.
    Raises:
      DataError: the file is not a COCO file; an annotation names a category or an image that the
        file does not list; none of several folders holds the images.
    """
    annotation_file = pathlib.Path(annotation_file)
    content = coco_entries.read(annotation_file)
    changes: collections.Counter[Change] = collections.Counter()
    categories = _used(content, changes)
    label_map = {category['id']: category['name'].strip() for category in categories}
    _check_unique(annotation_file, 'image id', [image['id'] for image in content['images']])
    _check_unique(annotation_file, 'category id', [category['id'] for category in categories])
    _check_unique(annotation_file, 'category name', label_map.values())
    by_image = _by_image(content, annotation_file)
    files = _image_files(content['images'], image_dir, annotation_file, changes)
    photos = each(
        lambda image: _photo(
            image, by_image[image['id']], label_map, files, annotation_file, masks
        ),
        content['images'],
    )
    return Source(photos, label_map, dict(changes))


def _used(content, changes):
    """The categories in ascending order of ids, without the root that Roboflow adds.

    It has id 0 and no annotation, and the others name it as their supercategory.
    """
    categories = sorted(content['categories'], key=lambda category: category['id'])
    if not categories or categories[0]['id'] != 0:
        return categories
    root, *others = categories
    names = {category.get('supercategory') for category in others}
    annotated = any(annotation['category_id'] == 0 for annotation in content['annotations'])
    if annotated or root['name'] not in names or root.get('supercategory') == root['name']:
        return categories
    changes[Change.UNUSED_CATEGORY] += 1
    return others


def _by_image(content, annotation_file):
    """defaultdict {image id: annotations}."""
    by_image = collections.defaultdict(list)
    for annotation in content['annotations']:
        by_image[annotation['image_id']].append(annotation)
    listed = {image['id'] for image in content['images']}
    unlisted = set(by_image) - listed
    if unlisted:
        example = min(unlisted, key=str)
        raise DataError(
            f'{annotation_file}: annotations of {len(unlisted)} images that `images` does not '
            f'list, like image_id {example!r}{coco_entries.other_type(example, listed)}'
        )
    return by_image


def _image_files(images, image_dir, annotation_file, changes):
    """ImageFiles of the folder, of several that with the most of the first images.

    The others may hold images of the same names that belong to another split.
    """
    if not isinstance(image_dir, list | tuple):
        return ImageFiles([image_dir], changes)
    names = [image['file_name'] for image in images[:20]]
    best = best_folder(image_dir, names)
    if names and not best:
        raise DataError(
            f'{annotation_file}: its images, like {names[:1]}, are in none of '
            f'{", ".join(map(str, image_dir))}'
        )
    return ImageFiles([best or image_dir[0]], changes)


def _check_unique(annotation_file, what, values):
    again = [value for value, count in collections.Counter(values).items() if count > 1]
    if again:
        raise DataError(f'{annotation_file}: {what} {again[0]!r} is listed more than once')


def _photo(image, annotations, label_map, files, annotation_file, masks):
    changes = files.changes
    rows = each(lambda row: _row(row, label_map, annotation_file, changes), annotations)
    path = files.locate([image['file_name']]) or files.stated(image['file_name'])
    size = measured(path, coco_entries.size(image, annotation_file), changes)
    found = photo(path, image['id'], size, rows, changes)
    if not masks:
        return found
    regions = tuple(coco_entries.region(row, annotation_file, changes) for row in annotations)
    return dataclasses.replace(found, mask=regions)


def _row(annotation, label_map, annotation_file, changes):
    where = f'{annotation_file}, {coco_entries.name(annotation)}'
    category_id = annotation['category_id']
    if category_id not in label_map:
        raise DataError(
            f'{where} has category_id {category_id!r}, which is not in categories '
            f'({", ".join(map(str, label_map))}){coco_entries.other_type(category_id, label_map)}'
        )
    x, y, width, height = coco_entries.bbox(annotation, where, changes)
    crowd = number(annotation.get('iscrowd') or 0, 'iscrowd', where)
    area = coco_entries.area(annotation, where)
    return (y, x, y + height, x + width), category_id, area, bool(crowd)
