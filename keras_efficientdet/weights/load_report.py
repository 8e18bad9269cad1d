"""What a load of official weights did, and the checks that come before anything is assigned."""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from keras_efficientdet.errors import CheckpointError

CLASS_PREDICT = re.compile(r'^(class_net/class-predict|[^/]+/head/dense)/')


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What a load did, in official variable names.

    `missing` and `unused` are empty after a strict load.
    """

    source: str
    loaded: tuple[str, ...] = ()
    averaged: tuple[str, ...] = ()  # those of `loaded` that came from the moving averages
    missing: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    reinitialised: tuple[str, ...] = ()
    optimizer_state: tuple[str, ...] = ()  # in the source, but not loaded
    ema: bool = True  # whether moving averages were preferred to raw values

    def __str__(self) -> str:
        averages = 'all raw values, because ema=False'
        if self.ema:
            averages = (
                f'{len(self.averaged)} moving averages and '
                f'{len(self.loaded) - len(self.averaged)} raw values; ema=True prefers averages'
            )
        return (
            f'{self.source}: loaded {len(self.loaded)} variables ({averages}), '
            f'{len(self.missing)} missing, {len(self.unused)} unused, '
            f'{len(self.reinitialised)} re-initialised, '
            f'{len(self.optimizer_state)} of the optimizer ignored'
        )


def report_of(source, wanted, values, fresh=frozenset()) -> LoadReport:
    """Compares names.

    Args:
      source: what to call the source in messages.
      wanted: {name: shape} of the model. values: {name: array} of the source.
      fresh: names that get new initial values instead.
    """
    return LoadReport(
        source,
        loaded=tuple(sorted(set(wanted) & set(values) - fresh)),
        reinitialised=tuple(sorted(fresh)),
        missing=tuple(sorted(set(wanted) - set(values))),
        unused=tuple(sorted(set(values) - set(wanted))),
    )


def check(report: LoadReport, wanted: dict, values: Mapping) -> None:
    """Raises CheckpointError, with every kind of problem in one message."""
    problems = _problems(report, wanted, values)
    if problems:
        raise CheckpointError(
            f'{report.source} does not fit the model, nothing was loaded. ' + '. '.join(problems)
        )


def _problems(report, wanted, values):
    problems = []
    if report.missing:
        problems.append(_some('variables of the model are missing in it', report.missing))
    if report.unused:
        problems.append(_some('of its variables are unknown to the model', report.unused))
    shapes = [name for name in report.loaded if np.shape(values[name]) != wanted[name]]
    if shapes:
        problems.append(_wrong_shapes(shapes, wanted, values))
    dtypes = {name: np.asarray(values[name]).dtype for name in report.loaded}
    floating = {name for name, dtype in dtypes.items() if np.issubdtype(dtype, np.floating)}
    wrong = [f'{name} is {dtype}' for name, dtype in dtypes.items() if name not in floating]
    if wrong:
        problems.append(_some('of another dtype, the model expects float32', wrong))
    infinite = [name for name in sorted(floating) if not np.all(np.isfinite(values[name]))]
    if infinite:
        problems.append(_some('with values that are infinite or NaN', infinite))
    return problems


def _wrong_shapes(names, wanted, values):
    found = [f'{n} is {np.shape(values[n])}, the model expects {wanted[n]}' for n in names]
    problem = _some('of another shape', found)
    if all(CLASS_PREDICT.match(name) for name in names):
        problem += (
            ' (another number of classes? on_class_mismatch="reinit" loads everything else and '
            'gives the class prediction new initial values)'
        )
    return problem


def _some(what, names):
    """'7 <what>: ' and the first five of the names."""
    more = f' and {len(names) - 5} more' if len(names) > 5 else ''
    return f'{len(names)} {what}: {"; ".join(names[:5])}{more}'
