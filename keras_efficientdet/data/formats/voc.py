"""Pascal VOC: one xml file per image, in the layout of VOC2012 or beside the images."""

import collections
import math
import os
import pathlib
from xml.etree import ElementTree

from keras_efficientdet.config.label_maps import LABEL_MAPS
from keras_efficientdet.data.formats import voc_layout
from keras_efficientdet.data.formats.common import (
    each,
    id_of,
    ids_of,
    number,
    numbered,
    photo,
    text_of,
)
from keras_efficientdet.data.formats.image_files import ImageFiles, measured
from keras_efficientdet.data.formats.voc_layout import annotation_files, listed, name_of
from keras_efficientdet.data.source import Change, Source
from keras_efficientdet.errors import DataError

_SIDES = ('ymin', 'xmin', 'ymax', 'xmax')


def read_voc(
    folder: str | os.PathLike, split: str | None = None, label_map: dict[int, str] | None = None
) -> Source:
    """Reads a folder of VOC annotations.

    The layout is Annotations/, JPEGImages/ and ImageSets/Main/, or xml files beside their images.
    Annotations/ may have subfolders, with folders of the same names in JPEGImages/. An image has
    the name of its xml file; only if there is none, the one that <filename> states is taken.

    As in google/automl's converter, coordinates are taken as written (nothing is subtracted for
    pixels that count from 1), difficult objects are kept, and images are numbered from 1. Swapped
    corners are put right, boxes are clipped to the image, outlines without a bndbox have the box
    around them, sizes that are not stated are those of the images, and xml files that are no
    annotations are left out; each of these is counted.

    Args:
      folder: one VOC folder, like VOCdevkit/VOC2012.
      split: a list in ImageSets/Main: train, val, or one of a class like aeroplane_train. Default:
        every xml file.
      label_map: {id: name}. Default: the official ids if only VOC's 20 classes occur, else all
        names in the folder, of every split, in alphabetical order from 1 on.
    Raises:
      DataError: names the xml files: they are broken, an image is not there or belongs to two of
        them, a class is unknown.
    """
    folder = pathlib.Path(folder)
    files = {name_of(path, folder): path for path in annotation_files(folder)}
    if not files:
        raise DataError(f'{folder}: no xml files in it, nor in Annotations/')
    # The classes are those of all splits.
    chosen = list(files) if split is None else listed(folder, split, files)
    parsed = _parse_all(files if label_map is None else {name: files[name] for name in chosen})
    label_map = label_map or label_map_of(_names(parsed.values()))
    read = [name for name in chosen if name in parsed]
    if not read:
        raise DataError(f'{folder}: none of {len(chosen)} xml files is of VOC, with <annotation>')
    changes = collections.Counter({Change.OTHER_FILE: len(chosen) - len(read)})
    images, ids = ImageFiles(voc_layout.image_folders(folder), changes), ids_of(label_map)

    def made(numbered_name):
        id, name = numbered_name
        return _photo(files[name], parsed[name], id, ids, images, folder)

    photos = each(made, enumerate(read, 1))
    _check_one_each(photos, [files[name] for name in read])
    return Source(photos, label_map, dict(+changes))


def class_names(folder):
    """The class names in the xml files of a folder; `label_map_of` takes those of all splits."""
    folder = pathlib.Path(folder)
    files = {name_of(path, folder): path for path in annotation_files(folder)}
    return _names(_parse_all(files).values())


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


def _parse_all(files):
    """{name: root} of {name: xml file}, without those that are no annotations.

    Raises DataError for all broken files at once.
    """
    roots = dict(zip(files, each(_parse, files.values()), strict=True))
    return {name: root for name, root in roots.items() if root.tag == 'annotation'}


def _parse(path):
    """The root of an xml file."""
    try:
        root = ElementTree.parse(path).getroot()
    except (LookupError, ValueError) as error:
        raise DataError(f'{path}: its encoding is not known: {error}; save it as UTF-8') from error
    except ElementTree.ParseError as error:
        text_of(path)  # the usual reason is text in another encoding than UTF-8, which is named
        raise DataError(f'{path}: not an xml file: {error}') from error
    if root.tag == 'annotations':
        raise DataError(
            f'{path}: not a VOC file, expected <annotation>, found <annotations>; this is the own '
            "format of CVAT, export the data set as 'PASCAL VOC' or 'COCO'"
        )
    return root


def _photo(path, root, id, ids, files, folder):
    rows = [
        _row(element, f'{path}, object {i}', ids, files.changes)
        for i, element in enumerate(root.findall('object'), 1)
    ]
    image = _image_of(path, root, files, folder)
    return photo(image, id, measured(image, _size(root, path), files.changes), rows, files.changes)


def _size(root, path):
    """The stated (height, width), or None where one of them is missing."""
    texts = [(root.findtext(f'size/{side}') or '').strip() for side in ('height', 'width')]
    if not all(texts):
        return None
    return tuple(number(text, 'size', path) for text in texts)


def _row(element, where, ids, changes):
    return _box(element, where, changes), id_of(_class_of(element), ids, where), None, False


def _box(element, where, changes):
    """ymin, xmin, ymax, xmax of an object: its bndbox, or the box around its outline."""
    if element.find('bndbox') is None:
        for outline, corners in (('polygon', _points), ('robndbox', _rotated)):
            found = element.find(outline)
            if found is not None:
                changes[Change.POLYGON] += 1
                ys, xs = corners(found, where)
                return [min(ys), min(xs), max(ys), max(xs)]
    return [number(element.findtext(f'bndbox/{side}'), f'bndbox/{side}', where) for side in _SIDES]


def _points(polygon, where):
    """(ys, xs) of a polygon, with tags x1, y1, x2, ... or x and y inside of points."""
    found = {'y': [], 'x': []}
    for tag in polygon.iter():
        letter = tag.tag.rstrip('0123456789')
        if letter in found:
            found[letter].append(number(tag.text, f'polygon/{tag.tag}', where))
    if not found['x'] or not found['y']:
        raise DataError(f'{where}: its polygon has no points, expected x1, y1, x2, y2 and so on')
    return found['y'], found['x']


def _rotated(box, where):
    """(ys, xs) of the corners of a robndbox, whose angle is in radians."""
    cx, cy, w, h, angle = (
        number(box.findtext(key), f'robndbox/{key}', where)
        for key in ('cx', 'cy', 'w', 'h', 'angle')
    )
    half_height = (abs(w * math.sin(angle)) + abs(h * math.cos(angle))) / 2
    half_width = (abs(w * math.cos(angle)) + abs(h * math.sin(angle))) / 2
    return (cy - half_height, cy + half_height), (cx - half_width, cx + half_width)


def _image_of(path, root, files, folder):
    """The image of an xml file: that of its own name, else the one that it states.

    Programs that copy or rename xml files often leave <filename> as it was.
    """
    stated = (root.findtext('filename') or '').strip()
    stated_names = voc_layout.stated_names(path, folder, stated) if stated else []
    own = files.exact(voc_layout.own_names(path, folder))
    named = files.exact(stated_names)
    if own and named and own.stem != named.stem:
        files.changes[Change.OTHER_IMAGE] += 1
    if own and named and own.stem == named.stem:
        return named  # a.png and a.jpg may both be there
    return own or named or files.find([*stated_names, *voc_layout.own_names(path, folder)], path)


def _check_one_each(photos, xml_files):
    """Raises DataError if two xml files have the same image."""
    owner = {}
    for image, path in zip((p.path for p in photos), xml_files, strict=True):
        other = owner.setdefault(image, path)
        if other != path:
            raise DataError(
                f'{other} and {path} both belong to the image {image}; give each image its '
                'own xml file, of the same name'
            )
