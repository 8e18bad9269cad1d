"""How a folder or file is recognised as of a format (`..._reason`), and read (`..._read`).

`..._reason(path)` is a text that says what makes it one of the format, or None; `..._read(path,
split)` is its Source.
"""

import mmap

from keras_efficientdet.data.formats import class_folders, voc, voc_layout, yolo, yolo_names
from keras_efficientdet.data.formats.coco import read_coco
from keras_efficientdet.data.formats.common import numbered
from keras_efficientdet.data.formats.csv_table import (
    class_list,
    class_names,
    has_boxes,
    read_csv,
    splits,
)
from keras_efficientdet.data.formats.splits import (
    demand_split,
    image_folders,
    name_among,
    one_file,
    sisters,
    splits_in,
)
from keras_efficientdet.errors import DataError


def _files(path, pattern):
    if path.is_file():
        return [path] if path.match(pattern) else []
    return sorted([*path.glob(pattern), *(path / 'annotations').glob(pattern)])


def _listing(files):
    """The first three files by name, as a reason; None where there are none."""
    if not files:
        return None
    names = ', '.join(file.name for file in files[:3])
    more = f' and {len(files) - 3} more' if len(files) > 3 else ''
    return f'{names}{more} in {files[0].parent}'


# ---- coco ----


def _coco_files(path):
    files = [
        file
        for file in _files(path, '*.json')
        if _mentions(file, b'"images"', b'"annotations"', b'"categories"')
    ]
    # COCO itself has files of key points and captions beside those of instances.
    instances = [file for file in files if file.name.startswith('instances')]
    return instances or files


def _mentions(path, *words):
    """Whether a file contains all of the words; mapped, because it may be half a gigabyte."""
    if not path.stat().st_size:  # an empty file cannot be mapped
        return False
    with (
        path.open('rb') as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return all(content.find(word) >= 0 for word in words)


def coco_reason(path):
    return _listing(_coco_files(path))


def coco_read(path, split, masks=False):
    file = one_file(path, _coco_files(path), split)
    return read_coco(file, image_folders(file), masks)


# ---- voc ----


def _voc_root(path):
    """VOCdevkit/VOC2012 of VOCdevkit/."""
    years = sorted(p for p in path.glob('VOC*') if (p / 'Annotations').is_dir())
    return years[0] if len(years) == 1 and not voc_layout.annotation_files(path) else path


def voc_reason(path):
    return _listing(voc_layout.annotation_files(_voc_root(path))) if path.is_dir() else None


def voc_read(path, split):
    folder = _voc_root(path)
    declared = voc_layout.splits(folder)
    demand_split(path, declared, split)
    label_map = None
    others = sisters(folder, voc_layout.annotation_files)
    if others:
        names = voc.class_names(folder).union(*map(voc.class_names, others))
        label_map = voc.label_map_of(names)
    return voc.read_voc(folder, name_among(declared, split), label_map)


# ---- yolo ----


def yolo_reason(path):
    if not path.is_dir():
        return None
    for place in (path, path.parent, *yolo_names.split_folders(path)):
        names = yolo_names.yaml_of(place)[0] or yolo_names.name_file(place)
        # A file of names above is a reason only where there are labels to go with it.
        if names and (place != path.parent or _has_labels(path)):
            return str(names)
    return None


def _has_labels(path):
    return any((path / name).is_dir() for name in ('labels', 'Labels')) or any(path.glob('*.txt'))


def yolo_read(path, split):
    content = yolo_names.yaml_of(path)[1]
    in_yaml = [key for key in yolo_names.SPLITS if content.get(key)]
    in_folders = [
        key
        for key in yolo_names.SPLITS
        if (path / 'images' / key).is_dir()
        or (path / key / 'images').is_dir()
        or yolo_names.name_file(path / key)
    ]
    declared = in_yaml or in_folders
    demand_split(path, declared, split)
    return yolo.read_yolo(path, name_among(declared, split))


# ---- csv ----


def _tables(folder):
    return _files(folder, '*.csv')


def csv_reason(path):
    return _listing(_tables(path))


def csv_read(path, split):
    files = _tables(path)
    with_boxes = [table for table in files if has_boxes(table)]
    declared = splits(with_boxes[0]) if len(with_boxes) == 1 else []
    demand_split(path, declared, split)
    inside = name_among(declared, split)
    inside = inside if inside in declared else None
    file = one_file(path, with_boxes or files, None if inside else split)
    related = files
    if not path.is_dir():
        related = [file, *(table for table in _tables(file.parent) if _goes_with(table, file))]
    others = [table for folder in sisters(file.parent, _tables) for table in _tables(folder)]
    tables = list(dict.fromkeys([*related, *others]))
    return read_csv(file, image_folders(file), _label_map_of(tables), inside)


def _goes_with(table, file):
    """Whether a table belongs to the file that was given: another split, or a list of classes."""
    return not has_boxes(table) or (splits_in(file.stem) and splits_in(table.stem))


def _label_map_of(tables):
    """{id: name}, the same for every split.

    From the list of classes beside the tables, if it has all of them; else the names in all tables.
    """
    names = set()
    lists = []
    for table in tables:
        if has_boxes(table):
            names |= class_names(table)
        elif (listed := class_list(table)) is not None:
            lists.append(listed)
    # Tables may hold ids in place of names.
    whole = [listed for listed in lists if names <= {*listed.values(), *map(str, listed)}]
    if whole and all(listed == whole[0] for listed in whole):
        return whole[0]
    return numbered(names)


# ---- folders of classes ----


def class_folders_reason(path):
    if not path.is_dir():
        return None
    return _listing(class_folders.class_folders(path))


def class_folders_read(path, split):
    if split:
        raise DataError(f'{path}: no split {split!r}; its folders are classes')
    names = class_folders.class_names(path)
    others = sisters(path, class_folders.class_folders)
    return class_folders.read_class_folders(
        path, numbered(names.union(*map(class_folders.class_names, others)))
    )
