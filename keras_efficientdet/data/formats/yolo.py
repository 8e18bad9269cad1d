"""YOLO: one text file per image with lines `class cx cy w h`, the box in normalised coordinates."""

import collections
import os
import pathlib

import yaml

from keras_efficientdet.data.formats.common import lines_of, number, photo, text_of
from keras_efficientdet.data.formats.image_files import file_in
from keras_efficientdet.data.source import Change, Source
from keras_efficientdet.errors import DataError
from keras_efficientdet.imaging.pil import IMAGE_SUFFIXES, upright_size

SPLITS = ('train', 'val', 'valid', 'test')
_NAME_LISTS = ('classes.txt', 'obj.names', 'labels.txt')
_NO_LABELS = {*SPLITS, 'classes', 'labels', 'README'}  # text files that hold no boxes
_ROUNDING = 1e-6  # by which a normalised coordinate may leave 0..1


def read_yolo(
    folder: str | os.PathLike, split: str | None = None, label_map: dict[int, str] | None = None
) -> Source:
    """Reads a folder of YOLO labels: images/ and labels/, or text files beside the images.

    Classes come from data.yaml (any yaml with `names`), classes.txt or obj.names, in the folder or
    the one above; their ids count from 0, as in the files. Boxes are clipped to the image, polygons
    become the boxes around them, key points (`kpt_shape` in the yaml) are left out, and images
    without a text file count as images without objects; each of these is counted. Images are
    numbered from 1.

    Args:
      folder: the folder of the data set.
      split: a key of the yaml (train, val, test), or a folder images/<split> or <split>. Default:
        all.
      label_map: {id: name} instead of the one in the folder.
    Raises:
      DataError: names file and line: a value is not a number or not within 0..1, a class is
        unknown, a text file has no image, there are no class names.
    """
    folder = pathlib.Path(folder)
    settings = yaml_of(folder)
    label_map = label_map or _names(folder, settings)
    images = _images(folder, split, settings)
    label_files = [_label_file(image) for image in images]
    _check_pairs(folder, images, label_files)
    content = settings[1] or yaml_of(folder.parent)[1]
    has_key_points = bool(content.get('kpt_shape'))
    changes: collections.Counter[Change] = collections.Counter()
    photos = []
    for id, (image, file) in enumerate(zip(images, label_files, strict=True), 1):
        size = upright_size(image)
        changes[Change.NO_LABEL_FILE] += not file.is_file()
        rows = _rows(file, size, label_map, has_key_points, changes)
        photos.append(photo(image, id, size, rows, changes))
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
    """{id: name} of the folder, or of the one above."""
    above = folder.parent
    for place, (path, content) in ((folder, settings), (above, yaml_of(above))):
        if path:
            return _from_yaml(path, content)
        file = name_file(place)
        if file:
            return dict(enumerate(lines_of(file)))
    raise DataError(
        f'{folder}: no class names; looked for a yaml file with `names`, {", ".join(_NAME_LISTS)}, '
        f'here and in {above}'
    )


def _from_yaml(path, content):
    stated = content['names']
    names = stated if isinstance(stated, dict) else dict(enumerate(stated or ()))
    different = len(set(names.values())) == len(names)
    if not names or not all(isinstance(i, int) for i in names) or not different:
        raise DataError(
            f'{path}: `names` must be a list of different names or number: name, found '
            f'{str(stated)[:200]}'
        )
    if content.get('nc', len(names)) != len(names):
        raise DataError(f'{path}: nc is {content["nc"]}, but there are {len(names)} names')
    return {i: str(name) for i, name in sorted(names.items())}


def _images(folder, split, settings):
    """The image files of a split, or of all."""
    path, content = settings
    listed = [key for key in SPLITS if content.get(key)]
    found = _in_yaml(path, content, split, listed) if listed else _in_folders(folder, split or '')
    if not found:
        of_split = f' of split {split!r}' if split else ''
        raise DataError(f'{path or folder}: no images{of_split}')
    return list(dict.fromkeys(found))


def _in_yaml(path, content, split, listed):
    """The image files of a split that a yaml lists, or of all that it lists."""
    if split not in (None, *listed):
        raise DataError(f'{path}: no split {split!r}; it has {", ".join(listed)}')
    found = []
    for key in [split] if split else listed:
        entries = content[key] if isinstance(content[key], list) else [content[key]]
        for entry in entries:
            found += _entry(path, content.get('path'), entry)
    return found


def _in_folders(folder, split):
    """The image files below images/<split>, <split>/images or <split>."""
    places = (folder / 'images' / split, folder / split / 'images', folder / split)
    return _below(next((place for place in places if place.is_dir()), folder / split))


def _entry(path, root, entry):
    """The images of a folder or list that a yaml names.

    Such paths are often written for another working directory, hence several places to look.
    """
    inside = str(entry)
    while inside.startswith('../'):
        inside = inside[3:]
    places = [path.parent / (root or '') / entry, path.parent / entry, path.parent / inside]
    place = next((place for place in places if place.exists()), None)
    if place is None:
        looked_for = ', '.join(dict.fromkeys(map(str, places)))
        raise DataError(f'{path}: {entry} is not there; looked for {looked_for}')
    if place.is_dir():
        return _below(place)
    return [file_in(place.parent, line) for line in lines_of(place)]


def _below(folder):
    """The images in a folder and its subfolders, each once, without hidden ones.

    Links to folders are followed last: a folder that is in the tree itself is found under its own
    name, which is where its labels are.
    """
    found, seen, waiting = [], set(), [folder]
    while waiting:
        for place, inside, files in os.walk(waiting.pop(0)):
            real = os.path.realpath(place)
            new = real not in seen
            seen.add(real)
            # os.walk goes on into what is left in `inside`.
            inside[:] = [name for name in inside if new and not name.startswith('.')]
            links = [name for name in inside if os.path.islink(os.path.join(place, name))]
            waiting += [pathlib.Path(place, name) for name in links]
            if new:
                found += [pathlib.Path(place, name) for name in files if name[0] != '.']
    return sorted(path for path in found if _is_image(path))


def _is_image(path):
    return path.suffix.lower() in IMAGE_SUFFIXES


def _label_file(image):
    """The text file in labels/ for images/, or the one beside the image if only that exists."""
    parts = list(image.parts)
    folders = parts[:-1]
    if 'images' in folders:
        last = len(folders) - 1 - folders[::-1].index('images')
        parts[last] = 'labels'
    usual = pathlib.Path(*parts).with_suffix('.txt')
    beside = image.with_suffix('.txt')
    return beside if beside.is_file() and not usual.is_file() else usual


def _check_pairs(folder, images, label_files):
    """Raises DataError if no image has a label file, or a label file has no image."""
    if not any(file.is_file() for file in label_files):
        raise DataError(
            f'{folder}: none of {len(images)} images has a label file; that of {images[0]} would '
            f'be {label_files[0]}'
        )
    places = {image.parent for image in images if image.parent.is_dir()}
    stems = {path.stem for place in places for path in place.iterdir() if _is_image(path)}
    for place in {file.parent for file in label_files if file.parent.is_dir()}:
        for file in sorted(place.glob('*.txt')):
            if file.stem not in stems | _NO_LABELS:
                raise DataError(f'{file}: there is no image for this label file')


def _rows(file, size, label_map, has_key_points, changes):
    if not file.is_file():
        return []
    return [
        _row(line.split(), f'{file}, line {i}', size, label_map, has_key_points, changes)
        for i, line in enumerate(text_of(file).splitlines(), 1)
        if line.strip()
    ]


def _row(fields, where, size, label_map, has_key_points, changes):
    category_id, *values = (number(text, 'each value', where) for text in fields)
    if has_key_points and len(values) > 4:
        changes[Change.KEY_POINTS] += 1
        values = values[:4]
    if category_id not in label_map:
        raise DataError(
            f'{where}: class {fields[0]} is not among the classes {str(label_map)[:300]}'
        )
    if any(not -_ROUNDING <= value <= 1 + _ROUNDING for value in values):
        raise DataError(
            f'{where}: expected normalised coordinates between 0 and 1, found '
            f'{" ".join(fields[1:])[:100]}; are these pixels?'
        )
    height, width = size
    ymin, xmin, ymax, xmax = _normalised_box(values, where, changes)
    box = (ymin * height, xmin * width, ymax * height, xmax * width)
    return box, int(category_id), None, False


def _normalised_box(values, where, changes):
    """(ymin, xmin, ymax, xmax) of a box `cx cy w h`, or of the corners `x y x y x y ...`."""
    if len(values) == 4:
        cx, cy, w, h = values
        return cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2
    if len(values) < 6 or len(values) % 2:
        raise DataError(
            f'{where}: expected `class cx cy w h` or a polygon `class x y x y x y ...`, found '
            f'{len(values) + 1} values'
        )
    changes[Change.POLYGON] += 1
    xs, ys = values[::2], values[1::2]
    return min(ys), min(xs), max(ys), max(xs)
