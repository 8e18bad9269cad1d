"""What is in this folder? Finds the format of a data set, says why, and reads it."""

import mmap
import pathlib
import re

from keras_efficientdet.data.formats import voc, yolo
from keras_efficientdet.data.formats.coco import read_coco
from keras_efficientdet.data.formats.common import numbered
from keras_efficientdet.data.formats.csv_table import class_list, class_names, has_boxes, read_csv
from keras_efficientdet.errors import DataError

_ALIASES = (('train', 'training'), ('val', 'valid', 'validation'), ('test', 'testing'))
_LOOKED_FOR = (
    'coco (json files with images, annotations and categories, here or in annotations/), voc (xml files, here or in '
    'Annotations/), yolo (a yaml file with `names`, classes.txt or obj.names, here or above, and text files), csv '
    '(csv files, here or in annotations/), TFRecord files'
)


def read_folder(path, split=None, kind=None):
    """Reads a data set of any format: a folder, a COCO json file or a csv file. Prints what it was taken for, and why.

    Args:
      split: train, val, test (valid and validation are val) or a list of a VOC folder. Must be given where there are several.
      kind: coco, voc, yolo or csv, where a folder could be more than one of them.
    Returns:
      Source.
    Raises:
      DataError: the folder is none of the known formats, or several; it has several splits, or not the one asked for; and
        what the reader of the format raises.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise DataError(f'{path}: no such folder or file')
    inner = None if path.is_file() else _split_folder(path, split)
    if inner:
        return read_folder(inner, None, kind)
    kind, reason = _one_of(path, detect(path), kind)
    print(f'{path}{f", split {split}" if split else ""}: read as {kind}, because of {reason}')
    return READERS[kind](path, split)


def is_data_set(path, split=None):
    """Whether a folder is of a known format, or has a folder of a known format for a split."""
    return bool(detect(path)) or _split_folder(path, split) is not None


def detect(path):
    """{format: reason} of what a folder or file could be."""
    reasons = {
        'coco': _listing(_coco_files(path)),
        'csv': _listing(_tables(path)),
        'voc': None,
        'yolo': None,
    }
    if path.is_dir():
        reasons['voc'] = _listing(voc.annotation_files(_voc_root(path)))
        reasons['yolo'] = _yolo_reason(path)
    return {kind: reason for kind, reason in reasons.items() if reason}


def _one_of(path, found, wanted):
    if wanted in found:
        return wanted, found[wanted]
    if path.is_dir() and any('.tfrecord' in p.name for p in path.iterdir()):
        raise DataError(
            f'{path}: holds TFRecords, which need no reader; give the folder itself to dataset or fit'
        )
    if wanted or not found:
        inside = sorted(p.name for p in path.iterdir())[:20] if path.is_dir() else []
        what = f'{wanted} data set' if wanted else 'data set of a known format'
        raise DataError(
            f'{path}: no {what}; looked for {_LOOKED_FOR}; found {", ".join(inside) or "nothing"}'
        )
    if len(found) > 1:
        raise DataError(
            f'{path}: could be several formats: '
            + '; '.join(f'{k} ({reason})' for k, reason in found.items())
            + '. Name the json or csv file itself, or the format (make_records.py --format)'
        )
    return next(iter(found.items()))


def _split_folder(path, split):
    """<path>/<split> where that folder is a data set of its own, in another format than one that spans all splits."""
    inner = (
        next((path / name for name in _same(split) if (path / name).is_dir()), None)
        if split
        else None
    )
    return inner if inner and not detect(path) and detect(inner) else None


def _same(split):
    return next((names for names in _ALIASES if split in names), (split,))


def _files(path, pattern):
    if path.is_file():
        return [path] if path.match(pattern) else []
    return sorted([*path.glob(pattern), *(path / 'annotations').glob(pattern)])


def _tables(folder):
    return _files(folder, '*.csv')


def _listing(files):
    names = ', '.join(p.name for p in files[:3])
    return (
        f'{names}{f" and {len(files) - 3} more" if len(files) > 3 else ""} in {files[0].parent}'
        if files
        else None
    )


def _coco_files(path):
    files = [
        p
        for p in _files(path, '*.json')
        if _mentions(p, b'"images"', b'"annotations"', b'"categories"')
    ]
    instances = [
        p for p in files if p.name.startswith('instances')
    ]  # COCO has key points and stuff beside them
    return instances or files


def _mentions(path, *words):
    """Whether a file holds all of the words; it may be half a gigabyte."""
    with path.open('rb') as file:
        if not path.stat().st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return all(content.find(word) >= 0 for word in words)


def _voc_root(path):
    """VOCdevkit/ holds VOC2012/."""
    years = sorted(p for p in path.glob('VOC*') if (p / 'Annotations').is_dir())
    return years[0] if len(years) == 1 and not voc.annotation_files(path) else path


def _yolo_reason(path):
    for place in (path, path.parent):
        names = yolo.yaml_of(place)[0] or yolo.name_file(place)
        if names and (place == path or (path / 'labels').is_dir() or any(path.glob('*.txt'))):
            return str(names)
    return None


def _chosen(path, files, split):
    """The one file of a split, known by a word in its name."""
    words = {p: re.findall('[a-z]+', p.stem.lower()) for p in files}
    left = [p for p in files if set(_same(split)) & set(words[p])] if split else files
    if len(left) != 1:
        names = ', '.join(p.name for p in files)
        wanted = (
            f'no single file of split {split!r} among {names}'
            if split
            else f'several files, {names}'
        )
        raise DataError(f'{path}: {wanted}; {_how_to_choose(path)}')
    return left[0]


def _how_to_choose(path):
    return f'name the split as in {path / "train"}, or give the file itself'


def _read_coco(path, split):
    file = _chosen(path, _coco_files(path), split)
    return read_coco(file, _picture_places(file))


def _picture_places(file):
    """The folders around an annotation file, nearest first; none of another split than the file's where its own is there."""
    root = file.parent.parent if file.parent.name == 'annotations' else file.parent
    around = [p for place in (root, root / 'images') for p in sorted(place.glob('*')) if p.is_dir()]
    own, places = _splits_in(file.stem), list(dict.fromkeys([file.parent, root, *around]))
    split = {p: _splits_in(p.name) if p in around else set() for p in places}
    return (
        [p for p in places if split[p] in (set(), own)] if own and own in split.values() else places
    )


def _splits_in(name):
    """The splits that a name speaks of: {'val'} of instances_val2017, valid or validation-1."""
    words = set(re.findall('[a-z]+', name.lower()))
    return {names[0] for names in _ALIASES if words & set(names)}


def _sisters(folder, files_of):
    """The folders of the other splits beside train/, valid/ or test/: only together have they all classes."""
    if not _splits_in(folder.name):
        return []
    beside = sorted(
        p for p in folder.absolute().parent.iterdir() if p.is_dir() and p.name != folder.name
    )
    return [p for p in beside if _splits_in(p.name) and files_of(p)]


def _read_voc(path, split):
    folder = _voc_root(path)
    known = voc.splits(folder)
    _demand_split(path, known, split)
    sisters = _sisters(folder, voc.annotation_files)
    label_map = (
        voc.label_map_of(voc.class_names(folder).union(*map(voc.class_names, sisters)))
        if sisters
        else None
    )
    return voc.read_voc(
        folder, next((name for name in _same(split) if name in known), split), label_map
    )


def _read_yolo(path, split):
    content = yolo.yaml_of(path)[1]
    declared = [key for key in yolo.SPLITS if content.get(key)] or [
        key
        for key in yolo.SPLITS
        if (path / 'images' / key).is_dir() or (path / key / 'images').is_dir()
    ]
    _demand_split(path, declared, split)
    return yolo.read_yolo(path, next((name for name in _same(split) if name in declared), split))


def _demand_split(path, declared, split):
    if split is None and len(declared) > 1:
        raise DataError(f'{path}: several splits, {", ".join(declared)}; {_how_to_choose(path)}')


def _read_csv(path, split):
    files = _tables(path)
    file = _chosen(path, list(filter(has_boxes, files)) or files, split)
    related = (
        files
        if path.is_dir()
        else [file, *(p for p in _tables(file.parent) if _goes_with(p, file))]
    )
    others = [table for folder in _sisters(file.parent, _tables) for table in _tables(folder)]
    return read_csv(
        file, _picture_places(file), _label_map_of(list(dict.fromkeys([*related, *others])))
    )


def _goes_with(table, file):
    """Whether a table belongs to the one that was given: that of another split, or perhaps a list of classes."""
    return not has_boxes(table) or (_splits_in(file.stem) and _splits_in(table.stem))


def _label_map_of(tables):
    """{id: name}, the same in every split: of the list of classes beside the tables, or of the names in all tables."""
    names = {name for p in tables if has_boxes(p) for name in class_names(p)}
    known = [found for p in tables if not has_boxes(p) and (found := class_list(p))]
    lists = [found for found in known if names <= {*found.values(), *map(str, found)}]
    return lists[0] if lists and all(found == lists[0] for found in lists) else numbered(names)


READERS = {'coco': _read_coco, 'voc': _read_voc, 'yolo': _read_yolo, 'csv': _read_csv}
