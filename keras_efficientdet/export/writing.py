"""What the exports share: a file appears whole or not at all, and a missing engine is named."""
import contextlib
import importlib
import os
import pathlib


@contextlib.contextmanager
def new_file(path, ending):
    """Gives (path, a name to write under); renames at the end, removes the unfinished file after an error.

    Raises FileExistsError where something stands there, ValueError for another ending.
    """
    target = pathlib.Path(path)
    if target.suffix != ending:
        raise ValueError(f'{target}: expected a path that ends in {ending}')
    if target.exists():
        raise FileExistsError(f'{target} exists; give another name or remove it')
    target.parent.mkdir(parents=True, exist_ok=True)
    working = target.with_name(f'{target.stem}.writing-{os.getpid()}{ending}')
    try:
        yield target, working
        working.rename(target)
    finally:
        working.unlink(missing_ok=True)


def engine(module, extra):
    """The module of an optional engine, or an ImportError that says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f'{module} is needed ({error}); install it together with this package, which keeps numpy and '
                          f'protobuf at versions that TensorFlow bears: pip install "keras-efficientdet[{extra}]"') from error
