"""Files that appear complete or not at all, locks, and where Keras keeps its files.

Temporary files carry a random suffix rather than a process id, because containers that share a
volume often all run as PID 1.
"""

import contextlib
import errno
import os
import pathlib
import re
import socket
import uuid
from collections.abc import Callable, Iterator

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Path = str | os.PathLike


@contextlib.contextmanager
def new_file(path: Path, *endings: str) -> Iterator[tuple[pathlib.Path, pathlib.Path]]:
    """Writes a file, or several that belong together, which must not exist yet.

    Args:
      path: the file to make; it ends in the first of `endings`.
      endings: one per file; a format of two files has two, like '.xml', '.bin'.
    Yields:
      (path, temporary path to write to). For a further ending write to
      `temporary.with_suffix(ending)`. The files get their final names when the block ends; after an
      error they are removed.
    Raises:
      FileExistsError: one of the files exists already. ValueError: `path` has another ending.
    """
    target = pathlib.Path(path)
    if target.suffix != endings[0]:
        raise ValueError(f'{target}: expected a path that ends in {endings[0]}')
    working = target.with_name(f'{target.stem}.writing-{uuid.uuid4().hex}{endings[0]}')
    # The first file comes last: whoever sees it can rely on the others.
    pairs = [(working.with_suffix(end), target.with_suffix(end)) for end in reversed(endings)]
    for _, final in pairs:
        if final.exists():
            raise FileExistsError(f'{final} exists; choose another name or remove it')
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield target, working
        for written, final in pairs:
            written.rename(final)
    finally:
        for written, _ in pairs:
            written.unlink(missing_ok=True)


@contextlib.contextmanager
def replaced_file(path: Path) -> Iterator[pathlib.Path]:
    """Yields a temporary path to write to, which replaces `path` when the block ends.

    After an error `path` is unchanged.
    """
    path = pathlib.Path(path)
    # The random part stands in front: libraries choose the format by the ending.
    working = path.with_name(f'writing-{uuid.uuid4().hex}.{path.name}')
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield working
        working.replace(path)
    finally:
        working.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path, on_wait: Callable[[], object] | None = None) -> Iterator[None]:
    """Lets one process at a time into the block, by a lock on a file, which stays.

    The system frees the lock of a process that dies. Where it has no such locks (Windows, some
    network folders) every process is let in.

    Args:
      path: the file, made where it is missing; it tells which process holds the lock.
      on_wait: called before waiting for another process; None: do not wait.
    Raises:
      BlockingIOError: another process holds the lock, and `on_wait` is None.
    """
    with open(path, 'a+', encoding='utf-8') as file:
        if fcntl and not _locks(file, wait=False):
            if on_wait is None:
                file.seek(0)
                raise BlockingIOError(f'in use by {file.read().strip() or "another process"}')
            on_wait()
            _locks(file, wait=True)
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
        file.flush()
        yield


def _locks(file, wait):
    """Whether this process may go on: False if another one holds the lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def remove_unfinished(*folders: Path) -> None:
    """Removes the temporary files that killed processes left behind in `replaced_file`.

    No other process may be writing to these folders meanwhile.
    """
    for folder in folders:
        for left in pathlib.Path(folder).glob('writing-*'):
            if re.match(r'writing-[0-9a-f]{32}\.', left.name):
                left.unlink()


def size_and_time(path: Path) -> tuple[int | None, ...]:
    """(bytes, modification time in nanoseconds): detects changes without reading the file.

    (None,) where there is no such file.
    """
    try:
        stat = os.stat(path)
    except (OSError, ValueError):  # ValueError: not a possible path, like one with a null byte
        return (None,)
    return stat.st_size, stat.st_mtime_ns


def keras_home() -> pathlib.Path:
    """The folder where Keras keeps downloads and caches: $KERAS_HOME, else ~/.keras."""
    return pathlib.Path(os.environ.get('KERAS_HOME') or '~/.keras').expanduser()
