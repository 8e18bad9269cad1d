"""Files that appear whole or not at all; optional packages that are named where they are missing.

What is unfinished has a name that no other process has on any machine: in containers that share a folder all are process 1.
"""

import contextlib
import os
import pathlib
import re
import uuid


@contextlib.contextmanager
def new_file(path, *endings):
    """Gives (path, a name to write under); renames at the end, removes what is unfinished after an error.

    Args:
      path: ends in the first of `endings`; the others are of files that are written beside it.
    Raises:
      FileExistsError: something stands there. ValueError: another ending.
    """
    target = pathlib.Path(path)
    if target.suffix != endings[0]:
        raise ValueError(f'{target}: expected a path that ends in {endings[0]}')
    working = target.with_name(f'{target.stem}.writing-{uuid.uuid4().hex}{endings[0]}')
    pairs = [
        (working.with_suffix(ending), target.with_suffix(ending)) for ending in reversed(endings)
    ]
    for _, final in pairs:
        if final.exists():
            raise FileExistsError(f'{final} exists; give another name or remove it')
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield target, working
        for written, final in pairs:
            written.rename(final)
    finally:
        for written, _ in pairs:
            written.unlink(missing_ok=True)


@contextlib.contextmanager
def replaced_file(path):
    """Gives a name to write under, which takes the place of `path` at the end; after an error `path` is as it was."""
    path = pathlib.Path(path)
    working = path.with_name(
        f'writing-{uuid.uuid4().hex}.{path.name}'
    )  # its ending says as what libraries write it
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield working
        working.replace(path)
    finally:
        working.unlink(missing_ok=True)


def remove_unfinished(*folders):
    """Removes what processes that were killed left of `replaced_file`. Nobody else may be writing there."""
    for folder in folders:
        for left in pathlib.Path(folder).glob('writing-*'):
            if re.match(r'writing-[0-9a-f]{32}\.', left.name):
                left.unlink()


def size_and_time(path):
    """(bytes, nanoseconds of the last change) of a file: what tells its contents apart without reading it; (None,) of none."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):  # not there, or no path at all
        return (None,)
    return stat.st_size, stat.st_mtime_ns
