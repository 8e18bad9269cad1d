"""Values as yaml, json or a command line give them -> the types that configuration keys have."""

import math
import numbers
import types
import typing
from collections.abc import Mapping

import numpy as np

from keras_efficientdet.config.label_maps import LabelMap
from keras_efficientdet.errors import ConfigError

_UNFIT = object()  # what `_as` returns where a value is not of a type; None is a value


def convert(name: str, value, kind) -> typing.Any:
    """`value` as the annotated type `kind` of the key `name`.

    Whole numbers become floats and lists become tuples where the key has such a type. Text is read
    as a float, because yaml 1.1 reads 1e-3, without a dot, as text; it is never read as an int.

    Raises:
      ConfigError: a value of another type, infinite or not a number.
    """
    for option in _options(kind):
        if typing.get_origin(option) is tuple and isinstance(value, list | tuple):
            return _tuple(name, value, typing.get_args(option))
        converted = _as(value, option)
        if converted is not _UNFIT:
            return converted
    raise ConfigError(f'{name} must be {_named(kind)}, found {type(value).__name__} {value!r}')


def _options(kind):
    return typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


def _tuple(name, values, kinds):
    """The annotation tuple[X, ...] or tuple[X, X]: each item is converted to X."""
    fixed = Ellipsis not in kinds
    if fixed and len(values) != len(kinds):
        raise ConfigError(f'{name} must be a list of {len(kinds)}, found {values!r}')
    return tuple(convert(f'each of {name}', value, kinds[0]) for value in values)


def _as(value, kind):
    if kind is float:
        return _finite(value)
    if kind is int:
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        return int(value) if whole else _UNFIT  # numpy's integers become Python's
    return value if isinstance(value, typing.get_origin(kind) or kind) else _UNFIT


def _finite(value):
    if isinstance(value, bool):
        return _UNFIT
    try:
        number = float(value)
    except (TypeError, ValueError):
        return _UNFIT
    return number if math.isfinite(number) else _UNFIT


def _named(kind):
    return getattr(kind, '__name__', None) or str(kind)


def image_size(value: typing.Any) -> tuple[int, int]:
    """(height, width) in pixels, from one int (a square) or a pair; Python's or numpy's integers.

    Raises:
      ConfigError: anything else.
    """
    if isinstance(value, str):
        raise ConfigError(
            f'image_size {value!r}: write [height, width]; text is refused because the official '
            'configurations write WIDTHxHEIGHT, which is easily taken for the reverse'
        )
    given = value.tolist() if isinstance(value, np.ndarray) else value
    pair = given if isinstance(given, list | tuple) else (given, given)
    if len(pair) != 2 or not all(map(_is_size, pair)):
        raise ConfigError(
            f'image_size must be one positive int or [height, width], found {value!r}'
        )
    height, width = pair
    return int(height), int(width)


def _is_size(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= 1


def label_map(value: typing.Any) -> LabelMap | None:
    """The LabelMap of what a file or a caller gives; None stays None. Raises ConfigError."""
    return value if value is None or isinstance(value, LabelMap) else LabelMap(value)


def plain(value: typing.Any) -> typing.Any:
    """Nested dicts, lists and numbers for yaml and json; a LabelMap becomes [[id, name], ...]."""
    if isinstance(value, LabelMap):
        return value.to_list()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
