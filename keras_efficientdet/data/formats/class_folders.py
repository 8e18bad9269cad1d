"""Folders of images, one folder for each class: the data of classifiers."""

import collections
import os
import pathlib

from keras_efficientdet.data.formats.common import each, ids_of, numbered, photo
from keras_efficientdet.data.source import Change, Source
from keras_efficientdet.errors import DataError
from keras_efficientdet.imaging.pil import IMAGE_SUFFIXES, upright_size

# Names of folders that hold something else than the images of a class.
_NO_CLASSES = (
    *('images', 'img', 'imgs', 'photos', 'jpegimages', 'imagesets', 'labels', 'annotations'),
    *('train', 'training', 'val', 'valid', 'validation', 'test', 'testing'),
)
# With such files beside the images, the data set is of another format.
_ANNOTATIONS = ('.xml', '.json', '.csv', '.txt', '.yaml', '.yml', '.tfrecord')


def read_class_folders(
    folder: str | os.PathLike, label_map: dict[int, str] | None = None
) -> Source:
    """Reads folders of images, whose names are those of their classes: <folder>/<class>/*.jpg.

    Each image has one box as large as itself, which is how classifiers see their class. Images are
    numbered from 1, in the order of their paths.

    Args:
      label_map: {id: name}; default: the names of the folders, numbered from 1 in their order.
    Raises:
      DataError: no folder holds images, a class is not in label_map, or images cannot be read.
    """
    folder = pathlib.Path(folder)
    images = [image for place in class_folders(folder) for image in _images(place)]
    if not images:
        raise DataError(f'{folder}: no folders with images in them, one folder for each class')
    label_map = label_map or numbered(class_names(folder))
    ids = ids_of(label_map)
    changes: collections.Counter[Change] = collections.Counter()

    def made(item):
        number, image = item
        name = image.parent.name
        if name not in ids:
            raise DataError(f'{image.parent}: class {name!r} is not among {list(ids)}')
        size = upright_size(image)
        row = ((0.0, 0.0, *size), ids[name], None, False)
        return photo(image, number, size, [row], changes)

    return Source(each(made, enumerate(images, 1)), label_map, dict(+changes))


def class_folders(folder: pathlib.Path) -> list[pathlib.Path]:
    """The folders of classes in a folder; none if one of its folders is something else."""
    places = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith('.'))
    others = [p for place in (folder, *places) for p in place.iterdir() if _is_annotation(p)]
    named = [p for p in places if p.name.casefold() in _NO_CLASSES]
    if others or named or len(places) < 2 or not all(any(_images(place)) for place in places):
        return []
    return places


def class_names(folder: pathlib.Path) -> set[str]:
    """The names of the classes in a folder."""
    return {place.name for place in class_folders(folder)}


def _is_annotation(path):
    return path.suffix.lower() in _ANNOTATIONS and not path.stem.lower().startswith('readme')


def _images(folder):
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
