"""Pascal VOC: one xml file per image, in the layout of VOC2012 or beside the images."""

import collections
import os
import pathlib
import re
from xml.etree import ElementTree

from keras_efficientdet.config.label_maps import LABEL_MAPS
from keras_efficientdet.data.formats.common import (
    id_of,
    ids_of,
    lines_of,
    number,
    numbered,
    photo,
)
from keras_efficientdet.data.formats.image_files import find_image
from keras_efficientdet.data.source import Change, Source
from keras_efficientdet.errors import DataError
from keras_efficientdet.imaging.pil import IMAGE_SUFFIXES

_ANNOTATIONS = ('Annotations', 'annotations')
_IMAGES = ('JPEGImages', 'images')
_SUFFIXES = (*IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES))
_SIDES = ('ymin', 'xmin', 'ymax', 'xmax')


def read_voc(
    folder: str | os.PathLike, split: str | None = None, label_map: dict[int, str] | None = None
) -> Source:
    """Reads a folder of VOC annotations.

    The layout is Annotations/, JPEGImages/ and ImageSets/Main/, or xml files beside their images.
    Annotations/ may have subfolders, with folders of the same names in JPEGImages/.

    As in google/automl's converter, coordinates are taken as written (nothing is subtracted for
    pixels that count from 1), difficult objects are kept, and images are numbered from 1. Boxes are
    clipped to the image, and counted.

    Args:
      folder: one VOC folder, like VOCdevkit/VOC2012.
      split: a list in ImageSets/Main: train, val, or one of a class like aeroplane_train. Default:
        every xml file.
      label_map: {id: name}. Default: the official ids if only VOC's 20 classes occur, else all
        names in the folder, of every split, in alphabetical order from 1 on.
    Raises:
      DataError: names the xml file: it is broken, lacks a size, its image is not there, a class is
        unknown.
    """
    folder = pathlib.Path(folder)
    files = {_name_of(path, folder): path for path in annotation_files(folder)}
    if not files:
        raise DataError(f'{folder}: no xml files in it, nor in Annotations/')
    chosen = list(files) if split is None else _listed(folder, split, files)
    # The classes are those of all splits.
    needed = files if label_map is None else chosen
    parsed = {name: _parse(files[name]) for name in needed}
    label_map = label_map or label_map_of(_names(parsed.values()))
    ids = ids_of(label_map)
    changes: collections.Counter[Change] = collections.Counter()
    photos = [
        _photo(files[name], parsed[name], i, folder, ids, changes)
        for i, name in enumerate(chosen, 1)
    ]
    return Source(photos, label_map, dict(changes))


def annotation_files(folder):
    """The xml files of a VOC folder, sorted: in Annotations/, else in the folder itself.

    Of subfolders of Annotations/, those are read that have their like among the images.
    """
    for name in _ANNOTATIONS:
        places = [folder / name, *_mirrored(folder / name, folder)]
        found = sorted(path for place in places for path in place.glob('*.xml'))
        if found:
            return found
    return sorted(folder.glob('*.xml'))


def _mirrored(annotations, folder):
    """The subfolders of Annotations/ that JPEGImages/ has too, without hidden ones."""
    below = [path.relative_to(annotations) for path in sorted(annotations.glob('**/'))]
    return [
        annotations / path
        for path in below
        if path.parts
        and not any(part.startswith('.') for part in path.parts)
        and any((folder / images / path).is_dir() for images in _IMAGES)
    ]


def _name_of(path, folder):
    """The name of an annotation in lists: cam1/a for Annotations/cam1/a.xml."""
    places = [folder / name for name in _ANNOTATIONS if folder / name in path.parents]
    root = places[0] if places else folder
    return path.relative_to(root).with_suffix('').as_posix()


def splits(folder):
    """{name: file} of the lists of images, without lists of one class if there are others."""
    lists = {path.stem: path for path in _lists(folder)}
    return {name: path for name, path in lists.items() if '_' not in name} or lists


def _lists(folder):
    return sorted((folder / 'ImageSets' / 'Main').glob('*.txt'))


def _listed(folder, split, files):
    """The names in the list of a split."""
    lists = _lists(folder)
    # The list of any class will do: each names all images, with a flag of -1 or 1.
    exact = [path for path in lists if path.stem == split]
    of_classes = [path for path in lists if path.stem.endswith(f'_{split}')]
    found = exact or of_classes
    if not found:
        raise DataError(
            f'{folder}: no split {split!r}; ImageSets/Main has {[path.stem for path in lists]}'
        )
    names = []
    for entry, line in enumerate(lines_of(found[0]), 1):
        # A name may contain spaces, and so may look like one with flags.
        name = line if line in files else re.sub(r'(\s+-?\d+)+$', '', line)
        if name not in files:
            raise DataError(f'{found[0]}, entry {entry}: {name} has no xml file')
        names.append(name)
    return names


def class_names(folder):
    """The class names in the xml files of a folder; `label_map_of` takes those of all splits."""
    return _names(_parse(path) for path in annotation_files(pathlib.Path(folder)))


def _names(roots):
    return {_class_of(element) for root in roots for element in root.iter('object')}


def _class_of(element):
    return (element.findtext('name') or '').strip() or None


def label_map_of(names):
    """{id: name}: the official one for classes of VOC, else in alphabetical order from 1 on."""
    official = LABEL_MAPS['voc']
    if names <= set(official.values()):
        return official
    return numbered(name for name in names if name)


def _parse(path):
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise DataError(f'{path}: not an xml file: {error}') from error
    if root.tag != 'annotation':
        raise DataError(f'{path}: not a VOC file, expected <annotation>, found <{root.tag}>')
    return root


def _photo(path, root, id, folder, ids, changes):
    height = int(number(root.findtext('size/height'), 'size/height', path))
    width = int(number(root.findtext('size/width'), 'size/width', path))
    if min(height, width) < 1:
        raise DataError(f'{path}: size is {width}x{height} (width x height), it must be positive')
    rows = [
        _row(element, f'{path}, object {i}', ids)
        for i, element in enumerate(root.findall('object'), 1)
    ]
    return photo(_image_of(path, root, folder), id, (height, width), rows, changes)


def _row(element, where, ids):
    box = [number(element.findtext(f'bndbox/{side}'), f'bndbox/{side}', where) for side in _SIDES]
    return box, id_of(_class_of(element), ids, where), None, False


def _image_of(path, root, folder):
    """The image of an xml file: by <filename>, which is often wrong, or by its own name."""
    name = _name_of(path, folder)
    names = [f'{stem}{suffix}' for stem in dict.fromkeys((name, path.stem)) for suffix in _SUFFIXES]
    stated = root.findtext('filename')
    if stated:
        names.insert(0, stated)
    inside = pathlib.Path(name).parent
    roots = [folder / images for images in _IMAGES]
    places = [*(images / inside for images in roots), *roots, path.parent, folder]
    return find_image(names, places, path)
