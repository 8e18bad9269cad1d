"""YOLO: one text file per image with lines `class cx cy w h`, the box in normalised coordinates."""

import collections
import os
import pathlib

from keras_efficientdet.data.formats import yolo_labels
from keras_efficientdet.data.formats.common import each, lines_of, photo
from keras_efficientdet.data.formats.image_files import ImageFiles
from keras_efficientdet.data.formats.yolo_names import NAME_LISTS, SPLITS, names_of, yaml_of
from keras_efficientdet.data.source import Change, Source
from keras_efficientdet.errors import DataError
from keras_efficientdet.imaging.pil import IMAGE_SUFFIXES, upright_size

_LABELS_OF = {'images': 'labels', 'Images': 'Labels'}
_IMAGES = tuple(_LABELS_OF)
# Text files that hold no boxes.
_NO_LABELS = {*SPLITS, *(pathlib.Path(name).stem for name in NAME_LISTS), 'README'}


def read_yolo(
    folder: str | os.PathLike, split: str | None = None, label_map: dict[int, str] | None = None
) -> Source:
    """Reads a folder of YOLO labels: images/ and labels/, or text files beside the images.

    Classes come from data.yaml (any yaml with `names`), classes.txt, obj.names or _darknet.labels,
    in the folder, the one above or those of its splits; their ids count from 0, as in the files,
    and a blank line takes up an id. Boxes are clipped to the image, polygons become the boxes
    around them, scores after a box and key points (`kpt_shape` in the yaml) are left out, and
    images without a text file count as images without objects; each of these is counted. Images
    are numbered from 1.

    Args:
      folder: the folder of the data set.
      split: a key of the yaml (train, val, test), or a folder images/<split> or <split>. Default:
        all.
      label_map: {id: name} instead of the one in the folder.
    Raises:
      DataError: names files and lines: a value is not a number or not within 0..1 (by more than
        .01), a class is unknown, a text file has no image, there are no class names.
    """
    folder = pathlib.Path(folder)
    settings = yaml_of(folder)
    label_map = label_map or names_of(folder, settings)
    changes: collections.Counter[Change] = collections.Counter()
    images = _images(folder, split, settings, changes)
    label_files = [_label_file(image) for image in images]
    _check_pairs(folder, images, label_files)
    content = settings[1] or yaml_of(folder.parent)[1]
    has_key_points = bool(content.get('kpt_shape'))

    def made(item):
        id, (image, file) = item
        size = upright_size(image)
        changes[Change.NO_LABEL_FILE] += not file.is_file()
        rows = yolo_labels.rows(file, size, label_map, has_key_points, changes)
        return photo(image, id, size, rows, changes)

    photos = each(made, enumerate(zip(images, label_files, strict=True), 1))
    return Source(photos, label_map, dict(+changes))


def _images(folder, split, settings, changes):
    """The image files of a split, or of all."""
    path, content = settings
    listed = [key for key in SPLITS if content.get(key)]
    if listed:
        found = _in_yaml(path, content, split, listed, changes)
    else:
        found = _in_folders(folder, split or '')
    if not found:
        of_split = f' of split {split!r}' if split else ''
        raise DataError(f'{path or folder}: no images{of_split}')
    return list(dict.fromkeys(found))


def _in_yaml(path, content, split, listed, changes):
    """The image files of a split that a yaml lists, or of all that it lists."""
    if split not in (None, *listed):
        raise DataError(f'{path}: no split {split!r}; it has {", ".join(listed)}')
    found = []
    for key in [split] if split else listed:
        entries = content[key] if isinstance(content[key], list) else [content[key]]
        for entry in entries:
            found += _entry(path, content.get('path'), entry, changes)
    return found


def _in_folders(folder, split):
    """The image files below images/<split>, <split>/images or <split>."""
    images = next((folder / name for name in _IMAGES if (folder / name).is_dir()), None)
    places = (*([images / split] if images else []), folder / split / 'images', folder / split)
    return _below(next((place for place in places if place.is_dir()), folder / split))


def _entry(path, root, entry, changes):
    """The images of a folder or list that a yaml names.

    Such paths are often written for another working directory or machine, so their ends are looked
    for beside the yaml, the longest first.
    """
    parts = pathlib.PurePosixPath(str(entry).replace('\\', '/')).parts
    ends = [path.parent.joinpath(*parts[i:]) for i in range(len(parts)) if parts[i] != '..']
    places = [path.parent / (root or '') / entry, path.parent / entry, *ends]
    place = next((place for place in places if place.exists()), None)
    if place is None:
        looked_for = ', '.join(dict.fromkeys(map(str, places)))
        raise DataError(f'{path}: {entry} is not there; looked for {looked_for}')
    if place.is_dir():
        return _below(place)
    files = ImageFiles([place.parent], changes)
    return each(lambda line: files.find([line], place), lines_of(place))


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
    places = [i for i, part in enumerate(parts[:-1]) if part in _LABELS_OF]
    if places:
        parts[places[-1]] = _LABELS_OF[parts[places[-1]]]
    usual = pathlib.Path(*parts).with_suffix('.txt')
    others = (image.with_suffix('.txt'), usual.with_suffix('.TXT'), image.with_suffix('.TXT'))
    return next((file for file in (usual, *others) if file.is_file()), usual)


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
