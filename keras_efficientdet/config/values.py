"""Values of a configuration: what a yaml file or a command line says, as the type that the field wants."""

import math
import types
import typing

from keras_efficientdet.errors import ConfigError


def convert(key, value, wanted):
    """`value` as the annotated type, or ConfigError. An int is a float, a list a tuple, a str no number."""
    special = {'image_size': image_size, 'label_map': _label_map}.get(key.rpartition('.')[2])
    if special:
        return special(value)
    for kind in typing.get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,):
        origin = typing.get_origin(kind) or kind
        if origin is float and (number := _number(value)) is not None:
            return number
        if origin is tuple and isinstance(value, list | tuple):
            return _items(key, value, typing.get_args(kind))
        if isinstance(value, origin) and isinstance(value, bool) == (origin is bool):
            return value
    raise ConfigError(
        f'{key} must be {getattr(wanted, "__name__", wanted)}, found {type(value).__name__} {value!r}'
    )


def _items(key, values, kinds):
    """A tuple of what the annotation says: each converted for tuple[float, ...], anything (lists as tuples) for a bare tuple."""
    if kinds[:1] in ((float,), (str,)):
        return tuple(convert(f'each of {key}', v, kinds[0]) for v in values)
    return tuple(tuple(v) if isinstance(v, list) else v for v in values)


def _number(value):
    """A finite float, or None. Text counts where it is a number: yaml 1.1 reads 1e-3 (no dot) as text."""
    try:
        return None if isinstance(value, bool) or not math.isfinite(float(value)) else float(value)
    except (TypeError, ValueError):
        return None


def image_size(value):
    """(height, width) from an int (square) or a pair. Raises ConfigError for anything else."""
    if isinstance(value, str):
        raise ConfigError(
            f'image_size {value!r}: write [height, width]; the official text form means WIDTHxHEIGHT, which '
            'has cost people weeks, so it is not read here'
        )
    pair = (value, value) if isinstance(value, int) and not isinstance(value, bool) else value
    if (
        not isinstance(pair, list | tuple)
        or len(pair) != 2
        or any(type(v) is not int or v < 1 for v in pair)
    ):
        raise ConfigError(
            f'image_size must be one positive int or [height, width], found {value!r}'
        )
    return tuple(pair)


def _label_map(value):
    """{int id: str name}; ids may be text, as json leaves them."""
    if value is None:
        return None
    if not isinstance(value, dict) or any(not str(k).lstrip('-').isdigit() for k in value):
        raise ConfigError(
            f'label_map must map ids to names, like {{1: cat, 18: dog}}, found {value!r}'
        )
    return {int(k): str(v) for k, v in value.items()}


def plain(value):
    """Nested dicts and sequences as dicts and lists, fit for yaml and json."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value
