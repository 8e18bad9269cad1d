"""Ranges and choices of configuration keys: written beside each key, checked when it is set."""

import dataclasses
import typing
from collections.abc import Callable, Collection

from keras_efficientdet.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Rule:
    """The values that a key accepts. A limit holds for each number of a tuple; None: no limit."""

    low: float | None = None  # value >= low
    above: float | None = None  # value > above
    high: float | None = None  # value <= high
    below: float | None = None  # value < below
    # A dict may get rows later (a backbone, a head), so names are looked up when they are checked.
    choices: Collection[str] | None = None
    length: int | None = None  # of a tuple
    empty: bool = True  # whether a tuple may be empty
    each: Callable[[typing.Any], str | None] | None = None  # an item of a tuple -> its fault
    read: Callable[[typing.Any], typing.Any] | None = None  # replaces the conversion to the type


def key(default, **rule) -> typing.Any:
    """A field of a configuration section with its Rule."""
    return dataclasses.field(default=default, metadata={'rule': Rule(**rule)})


def rule_of(field: dataclasses.Field) -> Rule:
    """The Rule of a field; a field without one accepts every value of its type."""
    return field.metadata.get('rule', Rule())


def check(name: str, value, rule: Rule) -> None:
    """Raises ConfigError, which names the key, what was expected and what was found."""
    if value is None:  # allowed by the type: the key is switched off or has a default elsewhere
        return
    for expected in _faults(value, rule):
        raise ConfigError(f'{name} must be {expected}, found {value!r}')


def _faults(value, rule):
    """What was expected, for each part of a rule that the value breaks."""
    # An empty table belongs to a room that was not imported; it checks the name when it is used.
    if rule.choices and value not in rule.choices:
        yield f'one of {", ".join(rule.choices)}'
    if not rule.empty and not value:
        yield 'a list of at least one'
    if rule.length is not None and len(value) != rule.length:
        yield f'a list of {rule.length}'
    if not all(_within(number, rule) for number in _numbers(value)):
        yield _range(rule)
    if rule.each is not None:
        yield from filter(None, map(rule.each, value))


def _numbers(value):
    """Every number in a value, however deep."""
    if isinstance(value, tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def _within(number, rule):
    return (
        (rule.low is None or number >= rule.low)
        and (rule.above is None or number > rule.above)
        and (rule.high is None or number <= rule.high)
        and (rule.below is None or number < rule.below)
    )


def _range(rule):
    limits = {
        'at least': rule.low,
        'above': rule.above,
        'at most': rule.high,
        'below': rule.below,
    }
    return ' and '.join(f'{word} {limit}' for word, limit in limits.items() if limit is not None)
