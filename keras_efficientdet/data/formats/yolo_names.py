"""The class names of a YOLO data set: a yaml file with `names`, or a list with a name per line."""

import re

import yaml

from keras_efficientdet.data.formats.common import text_of
from keras_efficientdet.errors import DataError

SPLITS = ('train', 'val', 'valid', 'test')
NAME_LISTS = ('classes.txt', 'obj.names', 'labels.txt', '_darknet.labels')
_HAS_NAMES = re.compile(rb'(^|\xef\xbb\xbf|[{,]\s*)["\']?names["\']?\s*:', re.MULTILINE)
_UTF_16 = (b'\xff\xfe', b'\xfe\xff')


def yaml_of(folder):
    """(path, content) of the yaml file with `names` in a folder, or (None, {}).

    Other programs keep yaml files beside data too, which need not be plain yaml; they are not read.
    """
    for path in sorted([*folder.glob('*.yaml'), *folder.glob('*.yml')]):
        if not path.is_file() or path.name.startswith('.') or not _may_have_names(path):
            continue
        try:
            content = yaml.safe_load(text_of(path))
        except yaml.YAMLError as error:
            raise DataError(f'{path}: has `names`, but is not a yaml file: {error}') from error
        if isinstance(content, dict) and 'names' in content:
            return path, content
    return None, {}


def _may_have_names(path):
    """Whether a yaml file has `names` at its top level, by its bytes."""
    content = path.read_bytes()
    return bool(_HAS_NAMES.search(content)) or content.startswith(_UTF_16)


def name_file(folder):
    """The file that names the classes of a folder without a yaml, or None."""
    return next((folder / name for name in NAME_LISTS if (folder / name).is_file()), None)


def names_of(folder, settings):
    """{id: name} of the folder, of the one above, or of its splits, which then have the same.

    Args:
      settings: what `yaml_of` says of the folder.
    """
    above = folder.parent
    for place, (path, content) in ((folder, settings), (above, yaml_of(above))):
        if path:
            return _from_yaml(path, content)
        file = name_file(place)
        if file:
            return _from_list(file)
    files = [file for file in map(name_file, split_folders(folder)) if file]
    if files:
        return _of_splits(files)
    raise DataError(
        f'{folder}: no class names; looked for a yaml file with `names`, {", ".join(NAME_LISTS)}, '
        f'here, in {above} and in folders of splits'
    )


def split_folders(folder):
    """Folders of splits in a folder, whether they exist or not."""
    return [folder / split for split in SPLITS]


def _of_splits(files):
    maps = [_from_list(file) for file in files]
    if any(label_map != maps[0] for label_map in maps):
        raise DataError(f'{", ".join(map(str, files))}: these name different classes')
    return maps[0]


def _from_list(path):
    """{id: name}: the id is the number of the line, from 0. Blank lines name no class."""
    names = [line.strip() for line in text_of(path).splitlines()]
    label_map = {i: name for i, name in enumerate(names) if name}
    again = sorted({name for name in label_map.values() if names.count(name) > 1})
    if again or not label_map:
        found = f'{again[0]!r} in several lines' if again else 'none'
        raise DataError(f'{path}: expected different class names, one in each line, found {found}')
    return label_map


def _from_yaml(path, content):
    stated = content['names']
    names = stated if isinstance(stated, dict) else dict(enumerate(stated or ()))
    names = {_id(i): str(name).strip() for i, name in names.items()}
    different = len(set(names.values())) == len(names)
    if not names or not all(isinstance(i, int) for i in names) or not different:
        raise DataError(
            f'{path}: `names` must be a list of different names or number: name, found '
            f'{str(stated)[:200]}'
        )
    if content.get('nc', len(names)) != len(names):
        raise DataError(f'{path}: nc is {content["nc"]}, but there are {len(names)} names')
    return dict(sorted(names.items()))


def _id(key):
    return int(key) if isinstance(key, str) and key.isdecimal() else key
