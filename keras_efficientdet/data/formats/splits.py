"""Splits of a data set: the names that they go by, and the files and folders that belong to one."""

import re

from keras_efficientdet.errors import DataError

_ALIASES = (('train', 'training'), ('val', 'valid', 'validation'), ('test', 'testing'))


def names_of(split):
    """All names of a split: valid and validation for val."""
    return next((names for names in _ALIASES if split in names), (split,))


def name_among(declared, split):
    """The name by which a data set declares a split; the split itself where it declares none."""
    return next((name for name in names_of(split) if name in declared), split)


def splits_in(name):
    """The splits in the words of a name: {'val'} of instances_val2017, valid or validation-1."""
    words = set(_words(name))
    return {names[0] for names in _ALIASES if words & set(names)}


def one_file(path, files, split):
    """The one file of a split, by a word in its name. Raises DataError unless there is just one."""
    chosen = files
    if split:
        chosen = [file for file in files if set(names_of(split)) & set(_words(file.stem))]
    if len(chosen) == 1:
        return chosen[0]
    names = ', '.join(file.name for file in files)
    found = f'several files, {names}'
    if split:
        found = f'no single file of split {split!r} among {names}'
    raise DataError(f'{path}: {found}; {_how_to_choose(path)}')


def demand_split(path, declared, split):
    """Raises DataError where a data set declares several splits and none was asked for."""
    if split is None and len(declared) > 1:
        raise DataError(f'{path}: several splits, {", ".join(declared)}; {_how_to_choose(path)}')


def image_folders(file):
    """The folders around an annotation file in which to look for its images, nearest first.

    Where a folder belongs to the file's split, those of other splits are left out: images of two
    splits may have the same name.
    """
    root = file.parent
    if root.name == 'annotations':
        root = root.parent
    around = [
        folder
        for place in (root, root / 'images')
        for folder in sorted(place.glob('*'))
        if folder.is_dir()
    ]
    places = list(dict.fromkeys([file.parent, root, *around]))
    split_of = {place: splits_in(place.name) if place in around else set() for place in places}
    own = splits_in(file.stem)
    if not own or own not in split_of.values():
        return places
    return [place for place in places if split_of[place] in (set(), own)]


def sisters(folder, files_of):
    """The folders of the other splits beside train/, valid/ or test/.

    The classes of a data set are those of all its splits: one split alone may lack some. What
    stands beside the split in a name is that of one data set: cats_train goes with cats_val, and
    neither with dogs_val.

    Args:
      files_of: function folder -> its annotation files; folders without any are left out.
    """
    if not splits_in(folder.name):
        return []
    beside = sorted(folder.absolute().parent.iterdir())
    return [
        other
        for other in beside
        if other.is_dir() and _of_one_data_set(folder.name, other.name) and files_of(other)
    ]


def _of_one_data_set(name, other):
    """Whether two names are of different splits of one data set; train goes with test_images."""
    if not splits_in(other) or splits_in(name) == splits_in(other):
        return False
    rest, other_rest = (set(_words(text)).difference(*_ALIASES) for text in (name, other))
    return rest <= other_rest or other_rest <= rest


def _words(name):
    return re.findall('[a-z]+', name.lower())


def _how_to_choose(path):
    return f'name the split as in {path / "train"}, or give the file itself'
