"""Pascal VOC: one xml file a picture, in the layout of VOC2012 or beside the pictures."""

import collections
import pathlib
import re
from xml.etree import ElementTree

from keras_efficientdet.config.label_maps import LABEL_MAPS
from keras_efficientdet.data.formats.common import (
    find_picture,
    ids_of,
    number,
    numbered,
    own_id,
    photo,
    text_of,
)
from keras_efficientdet.data.source import Source
from keras_efficientdet.errors import DataError
from keras_efficientdet.imaging.pil import IMAGE_SUFFIXES

_ANNOTATIONS = ('Annotations', 'annotations')
_PICTURES = ('JPEGImages', 'images')
_ENDINGS = (*IMAGE_SUFFIXES, *(end.upper() for end in IMAGE_SUFFIXES))
_SIDES = ('ymin', 'xmin', 'ymax', 'xmax')


def read_voc(folder, split=None, label_map=None):
    """Reads a folder of VOC annotations: Annotations/, JPEGImages/ and ImageSets/Main/, or xml files beside their pictures.
    Annotations/ may have folders in it, with folders of the same names in JPEGImages/.

    As in google/automl's converter, coordinates are taken as written (nothing is subtracted for pixels that count from 1),
    difficult objects are kept, and pictures are numbered from 1. Boxes are cut to the picture, and counted.

    Args:
      folder: one VOC folder, like VOCdevkit/VOC2012.
      split: a list in ImageSets/Main: train, val, or one of a class like aeroplane_train. Default: every xml file.
      label_map: {id: name}. Default: the official ids if only VOC's 20 classes occur, else all names in the folder, of every
        split, in alphabetical order from 1 on.
    Raises:
      DataError: naming the xml file: broken, without size, a picture that is not there, an unknown class.
    """
    folder = pathlib.Path(folder)
    files = {_name_of(p, folder): p for p in annotation_files(folder)}
    if not files:
        raise DataError(f'{folder}: no xml files in it, nor in Annotations/')
    chosen = list(files) if split is None else _listed(folder, split, files)
    needed = files if label_map is None else chosen
    parsed = {stem: _parse(files[stem]) for stem in needed}
    label_map = label_map or label_map_of(_names(parsed.values()))
    changes, ids = collections.Counter(), ids_of(label_map)
    photos = [
        _photo(files[stem], parsed[stem], i, folder, ids, changes)
        for i, stem in enumerate(chosen, 1)
    ]
    return Source(photos, label_map, dict(changes))


def annotation_files(folder):
    """The xml files of a VOC folder, sorted; of folders in Annotations/ where pictures are in folders of the same names."""
    places = [[folder / name, *_mirrored(folder / name, folder)] for name in _ANNOTATIONS] + [
        [folder]
    ]
    return next(
        (
            found
            for inside in places
            if (found := sorted(p for place in inside for p in place.glob('*.xml')))
        ),
        [],
    )


def _mirrored(annotations, folder):
    below = [p.relative_to(annotations) for p in sorted(annotations.glob('**/'))]
    visible = [p for p in below if p.parts and not any(part.startswith('.') for part in p.parts)]
    return [
        annotations / p for p in visible if any((folder / name / p).is_dir() for name in _PICTURES)
    ]


def _name_of(path, folder):
    """What lists call an annotation: cam1/a of Annotations/cam1/a.xml."""
    place = next(
        (folder / name for name in _ANNOTATIONS if (folder / name) in path.parents), folder
    )
    return path.relative_to(place).with_suffix('').as_posix()


def splits(folder):
    """{name: file} of the lists of pictures, without those of one class where there are others."""
    lists = {p.stem: p for p in sorted((folder / 'ImageSets' / 'Main').glob('*.txt'))}
    return {name: p for name, p in lists.items() if '_' not in name} or lists


def _listed(folder, split, files):
    lists = folder / 'ImageSets' / 'Main'
    # Every list of a class holds all pictures, with -1 or 1 behind the name.
    found = [
        p for p in (lists / f'{split}.txt', *sorted(lists.glob(f'*_{split}.txt'))) if p.is_file()
    ]
    if not found:
        raise DataError(
            f'{folder}: no split {split!r}; ImageSets/Main has {[p.stem for p in sorted(lists.glob("*.txt"))]}'
        )
    lines = [line.strip() for line in text_of(found[0]).splitlines() if line.strip()]
    names = [
        line if line in files else re.sub(r'(\s+-?\d+)+$', '', line) for line in lines
    ]  # a name may hold spaces
    for line, name in enumerate(names, 1):
        if name not in files:
            raise DataError(f'{found[0]}, entry {line}: {name} has no xml file')
    return names


def class_names(folder):
    """The names of the classes in the xml files of a folder: with those of other folders, what `label_map_of` takes."""
    return _names(_parse(path) for path in annotation_files(pathlib.Path(folder)))


def _names(roots):
    return {_class_of(found) for root in roots for found in root.iter('object')}


def _class_of(found):
    return (found.findtext('name') or '').strip() or None


def label_map_of(names):
    """{id: name}: the official one if these are classes of VOC only, else in alphabetical order from 1 on."""
    official = LABEL_MAPS['voc']
    return official if names <= set(official.values()) else numbered(name for name in names if name)


def _parse(path):
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise DataError(f'{path}: not an xml file: {error}') from error
    if root.tag != 'annotation':
        raise DataError(f'{path}: not a VOC file, expected <annotation>, found <{root.tag}>')
    return root


def _photo(path, root, id, folder, ids, changes):
    height, width = (
        int(number(root.findtext(f'size/{side}'), f'size/{side}', path))
        for side in ('height', 'width')
    )
    if min(height, width) < 1:
        raise DataError(f'{path}: size is {width}x{height} (width x height), it must be positive')
    rows = []
    for i, found in enumerate(root.findall('object'), 1):
        where = f'{path}, object {i}'
        box = [number(found.findtext(f'bndbox/{side}'), f'bndbox/{side}', where) for side in _SIDES]
        rows.append((box, own_id(_class_of(found), ids, where), None, False))
    name = _name_of(path, folder)
    names = [
        root.findtext('filename') or '',
        *(f'{stem}{end}' for stem in dict.fromkeys((name, path.stem)) for end in _ENDINGS),
    ]
    inside = pathlib.Path(name).parent
    roots = [folder / place for place in _PICTURES]
    places = (*(root / inside for root in roots), *roots, path.parent, folder)
    picture = find_picture([n for n in names if n], places, path)
    return photo(picture, id, (height, width), rows, changes)
