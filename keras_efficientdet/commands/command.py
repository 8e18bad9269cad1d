"""What the commands share: a quiet TensorFlow import, flags, messages, and one-line errors."""

import contextlib
import dataclasses
import functools
import io
import json
import logging
import math
import numbers
import os
import re
import sys
import tempfile
import types
import typing
import warnings

from absl import flags

_NOISE = re.compile(
    'cuda|cuDNN|cuBLAS|cuFFT|TensorRT|oneDNN|absl::InitializeLog|AVX|rebuild TensorFlow'
    '|cpu_feature',
    re.I,
)
_HELP = {'--help', '-help', '-h', '--helpshort', '--helpfull'}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command has found: the document of --json, and whether the exit status is 1."""

    json: typing.Any
    failed: bool = False


class Definer:
    """The DEFINE functions of absl.flags, bound to the flags of one command.

    Every command has a collection of its own, so that two commands can define the same name.
    """

    def __init__(self, values, name):
        self._values = values
        self._name = name  # the heading of the flags in --help

    def __getattr__(self, name):
        define = getattr(flags, name)
        return functools.partial(define, flag_values=self._values, module_name=self._name)


def import_tensorflow() -> None:
    """Imports TensorFlow without its start-up noise.

    No environment variable silences all of it, so stderr is held back during the import and
    replayed without the lines that every start prints.
    """
    if 'tensorflow' in sys.modules:
        return
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    warnings.filterwarnings('ignore', module='tensorflow_addons')
    real = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        finally:
            os.dup2(real, 2)
            os.close(real)
            held.seek(0)
            lines = held.read().decode(errors='replace').splitlines(keepends=True)
            sys.stderr.write(''.join(line for line in lines if not _NOISE.search(line)))


def define_set(define, text):
    """Defines --set, which `key=value` words after the flags add to."""
    define.DEFINE_multi_string('set', [], f'{text} key=value words after the flags do the same.')


def define_json(define):
    """Defines --json."""
    define.DEFINE_bool('json', False, 'Print one JSON document on stdout; messages go to stderr.')


def run(command: types.ModuleType, name: str, arguments: list[str]) -> int:
    """Runs a command; returns its exit status.

    Errors that the user can correct are one line on stderr and status 1. With the environment
    variable KERAS_EFFICIENTDET_TRACEBACK they are raised.

    Args:
      command: module with `define` and `main`. name: how the user calls it, for its help.
    """
    print_any_text()
    values = flags.FlagValues()
    command.define(Definer(values, name))
    if _HELP & set(arguments):
        listed = values.get_help(include_special_flags=False)
        print(f'{command.__doc__}\nflags:{listed}')
        return 0
    try:
        given = parsed(values, name, arguments)
        return _finished(command.main, given)
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get('KERAS_EFFICIENTDET_TRACEBACK'):
            raise
        print(f'error: {error}', file=sys.stderr)
        return 1


def parsed(values, name, arguments):
    """The flags with the values that were given. Raises ValueError for arguments that do not fit.

    Words of the form key=value are added to --set.
    """
    values.set_gnu_getopt(True)  # words and flags in any order
    try:
        _, *words = values([name, *arguments])
    except flags.Error as error:
        raise ValueError(f'{error} (`{name} --help` lists the flags)') from error
    flags.FLAGS.mark_as_parsed()  # of libraries that define flags of their own
    settings = [word for word in words if '=' in word and 'set' in values]
    other = [word for word in words if word not in settings]
    if other:
        kinds = 'a --flag or key=value' if 'set' in values else 'a --flag'
        raise ValueError(f'unexpected argument {other[0]!r}: expected {kinds}')
    if settings:
        values['set'].value = [*values.set, *settings]
    _expand_home(values)
    return values


def _expand_home(values):
    """~ in paths: shells do not expand it after `=`, and quotes prevent it everywhere."""
    for name, value in values.flag_values_dict().items():
        if isinstance(value, str):
            values[name].value = os.path.expanduser(value)
        elif isinstance(value, list):
            values[name].value = [
                os.path.expanduser(item) if isinstance(item, str) else item for item in value
            ]


def _finished(main, given):
    """Runs `main` with its messages on the screen; returns the exit status."""
    as_json = 'json' in given and given.json
    stdout = sys.stdout
    with contextlib.ExitStack() as stack:
        if as_json:
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        stack.enter_context(messages_on(sys.stdout))
        outcome = main(given)
    if as_json:
        print(json.dumps(_json_values(outcome.json), indent=2, allow_nan=False), file=stdout)
    return int(outcome is not None and outcome.failed)


def _json_values(value):
    """Numbers of numpy as those of Python; NaN, such as the AP of an absent class, as null."""
    if isinstance(value, dict):
        return {str(key): _json_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_values(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if math.isfinite(value) else None


def print_any_text() -> None:
    """Characters that the encoding of a stream lacks are printed as escapes, like \\xdf.

    Class and file names may hold any character; the encoding of a Windows console or of output to a
    file there holds a few hundred.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')


@contextlib.contextmanager
def messages_on(stream):
    """Shows what the library logs as plain lines of a stream.

    They are not handed on to the root logger, where absl's handler would print them again.
    """
    log = logging.getLogger('keras_efficientdet')
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter('%(message)s'))
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.level, log.propagate = before


def detection_config(model, given):
    """The Config of a trained model with settings of the section `detect` changed.

    Raises ValueError for a key that the network was built with.
    """
    from keras_efficientdet.config import load_config

    config = load_config(model.detection_config, given)
    built = model.detection_config.to_dict()['model']
    wanted = config.to_dict()['model']
    changed = [key for key in wanted if wanted[key] != built[key] and key != 'label_map']
    if changed:
        raise ValueError(
            f'--set: {", ".join(changed)} cannot be changed, the network was made with '
            f'{built[changed[0]]!r}; keys of the section `detect` can'
        )
    return config
