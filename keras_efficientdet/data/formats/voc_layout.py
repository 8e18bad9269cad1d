"""Where the files of a VOC data set are: annotations, images and lists of splits."""

import os
import re

from keras_efficientdet.data.formats.common import lines_of
from keras_efficientdet.errors import DataError
from keras_efficientdet.imaging.pil import IMAGE_SUFFIXES

_ANNOTATIONS = ('Annotations', 'annotations')
_IMAGES = ('JPEGImages', 'images')
_SUFFIXES = (*IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES))


def annotation_files(folder):
    """The xml files of a VOC folder, sorted: in Annotations/, else in the folder itself.

    Of subfolders of Annotations/, those are read that have their like among the images.
    """
    for name in _ANNOTATIONS:
        places = [folder / name, folder / name / 'xmls', *_mirrored(folder / name, folder)]
        found = sorted(path for place in dict.fromkeys(places) for path in _xml_files(place))
        if found:
            return found
    return sorted(_xml_files(folder))


def _xml_files(place):
    """The xml files of one folder, without the hidden ones that macOS adds to archives."""
    return [path for path in place.glob('*.xml') if not path.name.startswith('.')]


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


def name_of(path, folder):
    """The name of an annotation in lists: cam1/a for Annotations/cam1/a.xml."""
    folders = [f'{name}/xmls' for name in _ANNOTATIONS] + list(_ANNOTATIONS)
    places = [folder / name for name in folders if folder / name in path.parents]
    root = places[0] if places else folder
    return path.relative_to(root).with_suffix('').as_posix()


def splits(folder):
    """{name: file} of the lists of images, without lists of one class if there are others."""
    lists = {path.stem: path for path in _lists(folder)}
    return {name: path for name, path in lists.items() if '_' not in name} or lists


def _lists(folder):
    return sorted((folder / 'ImageSets' / 'Main').glob('*.txt'))


def listed(folder, split, files):
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
        stem, ending = os.path.splitext(name)  # some programs list the images
        if name not in files and ending.lower() in IMAGE_SUFFIXES:
            name = stem
        if name not in files:
            raise DataError(f'{found[0]}, entry {entry}: {name} has no xml file')
        names.append(name)
    return list(dict.fromkeys(names))


def image_folders(folder):
    """The folders that images may be in, relative to which `names_of_image` are."""
    return [*(folder / images for images in _IMAGES), folder]


def own_names(path, folder):
    """What the image that has the name of an xml file may be called, the likeliest first."""
    name = name_of(path, folder)
    beside = path.relative_to(folder).with_suffix('').as_posix()
    stems = dict.fromkeys((name, beside, path.stem))
    return [f'{stem}{suffix}' for stem in stems for suffix in _SUFFIXES]


def stated_names(path, folder, stated):
    """Where the image that an xml file states may be."""
    inside = os.path.dirname(name_of(path, folder))
    beside = path.parent.relative_to(folder).as_posix()
    places = [place for place in (inside, '', beside) if place != '.']
    return list(dict.fromkeys(os.path.join(place, stated) for place in places))
