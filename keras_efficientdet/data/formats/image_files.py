"""Where the image files are that annotations name, and how large they are."""

import collections
import functools
import os
import pathlib
import urllib.parse

from keras_efficientdet.data.source import Change
from keras_efficientdet.errors import DataError
from keras_efficientdet.imaging.pil import IMAGE_SUFFIXES, upright_size


def file_in(folder, name):
    """The path of a name that may have been written on Windows.

    A backslash separates folders unless there is a file with a backslash in its name.
    """
    path = pathlib.Path(folder) / name
    if '\\' not in name or path.is_file():
        return path
    return pathlib.Path(folder) / name.replace('\\', '/')


class ImageFiles:
    """Finds the image files that annotations name, also where the name is not quite right.

    A file in the folders wins. Only if there is none, a file of the same name in another case is
    taken, then one with another ending, then the only one with that name in any subfolder.

    Args:
      folders: where names are relative to, in the order in which they are looked through.
      changes: Counter of Change.
      guess_in: the folder in which names that are not quite right are looked for. Default: all.
    """

    def __init__(self, folders, changes, guess_in=None):
        self._folders = [pathlib.Path(folder) for folder in folders]
        self._guess_in = self._folders if guess_in is None else [pathlib.Path(guess_in)]
        self.changes = changes

    def find(self, names, where):
        """The path of the first of the names that has a file.

        Raises DataError, which begins with `where`, if there is none.
        """
        path = self.locate(names)
        if path:
            return path
        raise DataError(
            f'{where}: its image {names[0]} is not there; looked in '
            f'{", ".join(map(str, self._folders))}'
        )

    def locate(self, names):
        """The same, but None if there is no file. A guess is counted as a Change."""
        return (
            self.exact(names)
            or self._only(self._by_path, names, Change.SPELLING)
            or self._only(self._by_name, [_last(name) for name in names], Change.OTHER_FOLDER)
        )

    def exact(self, names):
        """The first path with just one of these names, or None."""
        paths = (file_in(folder, name) for folder in self._folders for name in names)
        return next((path for path in paths if path.is_file()), None)

    def stated(self, name):
        """The path of a name in the first folder, whether there is a file or not."""
        return file_in(self._folders[0], name)

    def _only(self, index, names, change):
        """The only file that an index has for the first known name."""
        keys = [key for name in names for key in _keys(name)]
        found = next((index[key] for key in keys if key in index), ())
        if len(found) != 1:
            return None
        self.changes[change] += 1
        return found[0]

    @functools.cached_property
    def _images(self):
        """{folder: images in it and in its subfolders}"""
        return {folder: list(_images(folder)) for folder in self._guess_in}

    @functools.cached_property
    def _by_path(self):
        """{key: images} of the paths relative to the first folder that has one of that key."""
        index = {}
        for folder in self._guess_in:
            found = self._images[folder]
            inside = _index((path, path.relative_to(folder).as_posix()) for path in found)
            index = {**inside, **index}
        return index

    @functools.cached_property
    def _by_name(self):
        """{key: images} of the names, without folders."""
        paths = dict.fromkeys(path for found in self._images.values() for path in found)
        return _index((path, path.name) for path in paths)


def _index(names):
    """{key: paths} of pairs of path and name."""
    index = {}
    for path, name in names:
        for key in _keys(name):
            index.setdefault(key, []).append(path)
    return index


def _keys(name):
    """What a name is compared by: without case, and without case and ending."""
    whole = _slashes(name).removeprefix('./').casefold()
    stem, _, ending = whole.rpartition('.')
    # 'scan.v2' has no ending, since '.v2' is none of an image.
    return (whole, (stem if f'.{ending}' in IMAGE_SUFFIXES else whole) + '.*')


def _last(name):
    """The name without its folders, also of an address."""
    return urllib.parse.unquote(_slashes(name).rpartition('/')[2].rpartition('?d=')[2])


def _slashes(name):
    """A name that may have been written on Windows, with the separators of other systems."""
    return name.replace('\\', '/')


def _images(folder):
    """The images in a folder and its subfolders, without hidden ones."""
    for place, inside, files in os.walk(folder):
        inside[:] = sorted(name for name in inside if not name.startswith('.'))
        for name in sorted(files):
            if not name.startswith('.') and pathlib.Path(name).suffix.lower() in IMAGE_SUFFIXES:
                yield pathlib.Path(place, name)


def best_folder(folders, names):
    """The folder that has the most of the names, the first of equals; None if it has none.

    Names that are not quite right count only where no folder has a file of just that name.
    """
    for count in (_count_exactly, _count):
        best = max(folders, key=lambda folder, count=count: count(folder, names))
        if count(best, names):
            return best
    return None


def _count_exactly(folder, names):
    return sum(file_in(folder, name).is_file() for name in names)


def _count(folder, names):
    files = ImageFiles([folder], collections.Counter())
    return sum(files.locate([name]) is not None for name in names)


def measured(path, size, changes):
    """(height, width), read from the image where none is stated; that is counted.

    Args:
      size: the stated (height, width), or None; values below 1 or None count as not stated.
    """
    if size and all(side and side >= 1 for side in size):
        return tuple(int(side) for side in size)
    changes[Change.SIZE_MEASURED] += 1
    return upright_size(path)
