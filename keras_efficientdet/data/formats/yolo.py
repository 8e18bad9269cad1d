"""YOLO: a text file a picture with lines `class cx cy w h`, all but the class in parts of the picture's sides."""

import collections
import os
import pathlib

import yaml

from keras_efficientdet.data.formats.common import file_in, number, photo, text_of
from keras_efficientdet.data.source import Change, Source
from keras_efficientdet.errors import DataError
from keras_efficientdet.imaging.pil import IMAGE_SUFFIXES, upright_size

SPLITS = ('train', 'val', 'valid', 'test')
_NAME_LISTS = ('classes.txt', 'obj.names', 'labels.txt')
_NO_LABELS = {*SPLITS, 'classes', 'labels', 'README'}


def read_yolo(folder, split=None, label_map=None):
    """Reads a folder of YOLO labels: pictures in images/ with text files in labels/, or text files beside the pictures.

    Classes come from data.yaml (any yaml with `names`), classes.txt or obj.names, in the folder or the one above; their ids
    count from 0, as in the files. Boxes are cut to the picture, polygons become the boxes around them, key points (`kpt_shape`
    in the yaml) are left out; all are counted, as are pictures without a text file, which count as pictures without objects.
    Pictures are numbered from 1.

    Args:
      split: a key of the yaml (train, val, test), or a folder images/<split> or <split>. Default: all.
      label_map: {id: name} instead of the one in the folder.
    Raises:
      DataError: naming file and line: no numbers, values outside of 0..1, an unknown class; text without a picture; no names.
    """
    folder = pathlib.Path(folder)
    settings = yaml_of(folder)
    label_map = label_map or _names(folder, settings)
    pictures = _pictures(folder, split, settings)
    labels = [_label_file(p) for p in pictures]
    _check_pairs(folder, pictures, labels)
    changes, pose = (
        collections.Counter(),
        bool((settings[1] or yaml_of(folder.parent)[1]).get('kpt_shape')),
    )
    photos = []
    for id, (picture, file) in enumerate(zip(pictures, labels, strict=True), 1):
        size = upright_size(picture)
        changes[Change.NO_LABEL_FILE] += not file.is_file()
        photos.append(
            photo(picture, id, size, _rows(file, size, label_map, pose, changes), changes)
        )
    return Source(photos, label_map, dict(changes))


def yaml_of(folder):
    """(path, content) of the yaml file with `names` in a folder, or (None, {})."""
    for path in sorted([*folder.glob('*.yaml'), *folder.glob('*.yml')]):
        try:
            content = yaml.safe_load(text_of(path))
        except yaml.YAMLError as error:
            raise DataError(f'{path}: not a yaml file: {error}') from error
        if isinstance(content, dict) and 'names' in content:
            return path, content
    return None, {}


def name_file(folder):
    """The file that names the classes of a folder without a yaml, or None."""
    return next((folder / name for name in _NAME_LISTS if (folder / name).is_file()), None)


def _names(folder, settings):
    for place, (path, content) in ((folder, settings), (folder.parent, yaml_of(folder.parent))):
        if path:
            return _from_yaml(path, content)
        if file := name_file(place):
            return dict(
                enumerate(line.strip() for line in text_of(file).splitlines() if line.strip())
            )
    raise DataError(
        f'{folder}: no class names; looked for a yaml file with `names`, {", ".join(_NAME_LISTS)}, here and in '
        f'{folder.parent}'
    )


def _from_yaml(path, content):
    names = content['names']
    names = names if isinstance(names, dict) else dict(enumerate(names or ()))
    if (
        not names
        or not all(isinstance(i, int) for i in names)
        or len(set(names.values())) != len(names)
    ):
        raise DataError(
            f'{path}: `names` must be a list of different names or number: name, found {str(content["names"])[:200]}'
        )
    if content.get('nc', len(names)) != len(names):
        raise DataError(f'{path}: nc is {content["nc"]}, but there are {len(names)} names')
    return {i: str(name) for i, name in sorted(names.items())}


def _pictures(folder, split, settings):
    path, content = settings
    listed = [key for key in SPLITS if content.get(key)]
    if listed:
        if split not in (None, *listed):
            raise DataError(f'{path}: no split {split!r}; it has {", ".join(listed)}')
        entries = [e for key in ([split] if split else listed) for e in _as_list(content[key])]
        found = [p for entry in entries for p in _entry(path, content.get('path'), entry)]
    else:
        places = [
            folder / 'images' / (split or ''),
            folder / (split or '') / 'images',
            folder / (split or ''),
        ]
        found = _below(next((place for place in places if place.is_dir()), folder / (split or '')))
    pictures = list(dict.fromkeys(found))
    if not pictures:
        raise DataError(
            f'{path or folder}: no pictures' + (f' of split {split!r}' if split else '')
        )
    return pictures


def _as_list(value):
    return value if isinstance(value, list) else [value]


def _entry(path, root, entry):
    """The pictures of a folder or list that a yaml names; such paths are often written for another working directory."""
    inside = str(entry)
    while inside.startswith('../'):
        inside = inside[3:]
    places = [path.parent / (root or '') / entry, path.parent / entry, path.parent / inside]
    place = next((p for p in places if p.exists()), None)
    if place is None:
        raise DataError(
            f'{path}: {entry} is not there; looked for {", ".join(dict.fromkeys(map(str, places)))}'
        )
    if place.is_dir():
        return _below(place)
    return [
        file_in(place.parent, line.strip()) for line in text_of(place).splitlines() if line.strip()
    ]


def _below(folder):
    """The pictures in a folder and in those inside, each once, without hidden ones (.ipynb_checkpoints).

    Links are followed after all else: a folder counts under its own name, where its labels are."""
    found, seen, waiting = [], set(), [folder]
    while waiting:
        for place, inside, files in os.walk(waiting.pop(0)):
            new = os.path.realpath(place) not in seen
            seen.add(os.path.realpath(place))
            inside[:] = [name for name in inside if new and not name.startswith('.')]
            waiting += [
                pathlib.Path(place, name)
                for name in inside
                if os.path.islink(os.path.join(place, name))
            ]
            found += [
                pathlib.Path(place, name) for name in files if new and not name.startswith('.')
            ]
    return sorted(p for p in found if p.suffix.lower() in IMAGE_SUFFIXES)


def _label_file(picture):
    """labels/ for the last images/ in the path, or beside the picture, where that is a file and the other is not."""
    parts, beside = list(picture.parts), picture.with_suffix('.txt')
    if 'images' in parts[:-1]:
        parts[len(parts) - 2 - parts[-2::-1].index('images')] = 'labels'
    usual = pathlib.Path(*parts).with_suffix('.txt')
    return beside if beside.is_file() and not usual.is_file() else usual


def _check_pairs(folder, pictures, labels):
    if not any(file.is_file() for file in labels):
        raise DataError(
            f'{folder}: none of {len(pictures)} pictures has a label file; that of {pictures[0]} would be '
            f'{labels[0]}'
        )
    places = {picture.parent for picture in pictures if picture.parent.is_dir()}
    stems = {
        p.stem for place in places for p in place.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES
    }
    for place in {file.parent for file in labels if file.parent.is_dir()}:
        for file in sorted(place.glob('*.txt')):
            if file.stem not in stems | _NO_LABELS:
                raise DataError(f'{file}: there is no picture to this label file')


def _rows(file, size, label_map, pose, changes):
    lines = text_of(file).splitlines() if file.is_file() else []
    return [
        _row(text.split(), f'{file}, line {i}', size, label_map, pose, changes)
        for i, text in enumerate(lines, 1)
        if text.strip()
    ]


def _row(fields, where, size, label_map, pose, changes):
    own_id, *values = (number(text, 'each value', where) for text in fields)
    if pose and len(values) > 4:
        changes[Change.KEY_POINTS] += 1
        values = values[:4]
    if own_id not in label_map:
        raise DataError(
            f'{where}: class {fields[0]} is not among the classes {str(label_map)[:300]}'
        )
    if any(not -1e-6 <= v <= 1 + 1e-6 for v in values):
        raise DataError(
            f'{where}: values must be parts of the picture between 0 and 1, found {" ".join(fields[1:])[:100]}; '
            'are these pixels?'
        )
    if len(values) == 4:
        cx, cy, w, h = values
        box = cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2
    elif len(values) >= 6 and len(values) % 2 == 0:
        changes[Change.POLYGON] += 1
        box = min(values[1::2]), min(values[::2]), max(values[1::2]), max(values[::2])
    else:
        raise DataError(
            f'{where}: expected `class cx cy w h` or a polygon `class x y x y x y ...`, found {len(fields)} values'
        )
    return [v * side for v, side in zip(box, (*size, *size), strict=True)], int(own_id), None, False
