"""Official variable names, and the strict way of official weights into our models. The only file that knows the names."""

import dataclasses
import re

import numpy as np

from keras_efficientdet.errors import CheckpointError
from keras_efficientdet.keras_compat import variable_path
from keras_efficientdet.weights.files import EMA, read_checkpoint, write_checkpoint

_SLOTS = re.compile(
    r'^(global_step|save_counter)$|/(Momentum|RMSProp|RMSProp_1|Adam|Adam_1)$|^optimizer/|/\.OPTIMIZER_SLOT/'
)
_CLASS_PREDICT = re.compile(r'^class_net/class-predict/')


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What a load did: names of official variables. `missing` and `unused` are empty after a strict load."""

    source: str
    loaded: tuple[str, ...] = ()
    averaged: tuple[str, ...] = ()  # those of `loaded` that came from the moving averages
    missing: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    reinitialised: tuple[str, ...] = ()
    optimizer_state: tuple[str, ...] = ()  # slots and counters, not wanted here
    ema: bool = True  # whether moving averages were to be taken where the source has them

    def __str__(self):
        averages = (
            (
                f'{len(self.averaged)} moving averages and {len(self.loaded) - len(self.averaged)} raw values, as ema=True '
                'takes the average where there is one'
            )
            if self.ema
            else 'all raw values, as ema=False asks'
        )
        return (
            f'{self.source}: loaded {len(self.loaded)} variables ({averages}), '
            f'{len(self.missing)} missing, {len(self.unused)} unused, {len(self.reinitialised)} re-initialised, '
            f'{len(self.optimizer_state)} of the optimizer left out'
        )


def official_variables(model):
    """{official name: (our variable, index into it or None)} of every weight of a model.

    A BiFPN node's vector `WSM` holds the official scalars WSM, WSM_1, ... (or vectors, per channel).
    """
    table = {}
    for layer in model.layers:
        for variable in layer.weights:
            last = variable_path(variable).rpartition('/')[2]
            if last == 'WSM':
                edges = enumerate(['WSM'] + [f'WSM_{i}' for i in range(1, variable.shape[0])])
                table.update(
                    {f'{layer.name}.{edge}'.replace('.', '/'): (variable, i) for i, edge in edges}
                )
                continue
            if 'depthwise_conv2d' in layer.name and last == 'kernel':  # Keras 3 calls it `kernel`
                last = 'depthwise_kernel'
            table[f'{layer.name}.{last}'.replace('.', '/')] = (variable, None)
    return table


def official_shapes(model):
    """{official name: shape} of every weight of a model."""
    return {
        name: tuple(v.shape) if i is None else tuple(v.shape[1:])
        for name, (v, i) in official_variables(model).items()
    }


def official_weights(model):
    """{official name: float32 array} of every weight of a model."""
    return {
        name: v.numpy() if i is None else v.numpy()[i]
        for name, (v, i) in official_variables(model).items()
    }


def load_official(model, source, *, ema=True, on_class_mismatch='error'):
    """Loads official weights into a model, all of them or none.

    Args:
      model: the result of `efficientdet`.
      source: {official variable name: array}, or what `checkpoint_files.read_checkpoint` reads: a checkpoint of TF1 or TF2
        (prefix or directory), an archive with one, or an official h5 file.
      ema: take the moving average of a variable where the source has one. False: always the raw value.
      on_class_mismatch: 'error', or 'reinit' to give `class-predict` alone fresh values where the number of classes differs.
    Returns:
      LoadReport.
    Raises:
      CheckpointError: unreadable, incomplete, with variables that the model does not have, of another shape, or not finite.
        The message names the variables. The model is unchanged.
    """
    if on_class_mismatch not in ('error', 'reinit'):
        raise ValueError(f'on_class_mismatch {on_class_mismatch!r}: expected error or reinit')
    label = 'mapping' if isinstance(source, dict) else str(source)
    values, averaged, slots = _select(
        source if isinstance(source, dict) else read_checkpoint(source), ema
    )
    wanted = official_shapes(model)
    fresh = {
        name
        for name in wanted
        if on_class_mismatch == 'reinit'
        and _CLASS_PREDICT.match(name)
        and name in values
        and np.shape(values[name]) != wanted[name]
    }
    report = _report(label, wanted, values, fresh)
    report = dataclasses.replace(
        report,
        averaged=tuple(sorted(averaged & set(report.loaded))),
        ema=ema,
        optimizer_state=tuple(sorted(slots)),
    )
    _check(report, wanted, values)
    _assign(model, {name: values[name] for name in report.loaded})
    _reinitialise(model, fresh)
    return report


def save_official(model, prefix, *, averages=None, global_step=0):
    """Writes a model's weights as a TF1 name-based checkpoint, as the official trainer does, so that its code can load them.

    Args:
      model: the result of `efficientdet`.
      prefix: path of the files without their endings; the file `checkpoint` beside them names it as the newest.
      averages: {official variable name: array} of the moving averages, one for each variable; None: none are written.
      global_step: number of training steps done, written as int64.
    Raises:
      CheckpointError: `averages` does not fit the model; nothing was written.
    """
    values = official_weights(model)
    if averages is not None:
        wanted = official_shapes(model)
        _check(_report('averages', wanted, averages), wanted, averages)
    shadows = {
        name + EMA: np.asarray(value, np.float32) for name, value in (averages or {}).items()
    }
    write_checkpoint(prefix, {**values, **shadows, 'global_step': np.int64(global_step)})


def load_backbone(model, values):
    """Loads an ImageNet classifier's weights {official name: array} into the backbone of a model.

    Every backbone variable must be there; the classifier's own head ('<backbone>/head/...') is left out and reported as
    unused. Returns LoadReport. Raises CheckpointError; the model is unchanged then.
    """
    prefix = model.detection_config.model.backbone_name + '/'
    wanted = {
        name: shape for name, shape in official_shapes(model).items() if name.startswith(prefix)
    }
    unused = {name for name in values if name.startswith(f'{prefix}head/')}
    values = {name: value for name, value in values.items() if name not in unused}
    report = _report(prefix[:-1], wanted, values)
    _check(report, wanted, values)
    _assign(model, values)
    return dataclasses.replace(report, unused=tuple(sorted(unused)))


def _select(found, ema):
    """(values by plain name, names taken from averages, optimizer state) of everything that a source holds."""
    slots = {name for name in found if _SLOTS.search(name)}
    plain = {
        name: value for name, value in found.items() if name not in slots and not name.endswith(EMA)
    }
    shadows = {name[: -len(EMA)]: value for name, value in found.items() if name.endswith(EMA)}
    return ({**plain, **shadows}, set(shadows), slots) if ema else ({**plain}, set(), slots)


def _report(source, wanted, values, fresh=frozenset()):
    return LoadReport(
        source,
        loaded=tuple(sorted(set(wanted) & set(values) - fresh)),
        reinitialised=tuple(sorted(fresh)),
        missing=tuple(sorted(set(wanted) - set(values))),
        unused=tuple(sorted(set(values) - set(wanted))),
    )


def _check(report, wanted, values):
    problems = [
        f'{len(names)} {what}: {_some(names)}'
        for what, names in (
            ('variables of the model are missing in it', report.missing),
            ('of its variables are unknown to the model', report.unused),
        )
        if names
    ]
    shapes = [
        f'{name} is {np.shape(values[name])}, the model wants {wanted[name]}'
        for name in report.loaded
        if np.shape(values[name]) != wanted[name]
    ]
    if shapes:
        hint = (
            ' (another number of classes? on_class_mismatch="reinit" gives class-predict alone fresh values)'
            if all(_CLASS_PREDICT.match(s) for s in shapes)
            else ''
        )
        problems.append(f'{len(shapes)} of another shape: {_some(shapes, "; ")}{hint}')
    dtypes = {name: np.asarray(values[name]).dtype for name in report.loaded}
    wrong = [
        f'{name} is {dtype}'
        for name, dtype in dtypes.items()
        if not np.issubdtype(dtype, np.floating)
    ]
    if wrong:
        problems.append(f'{len(wrong)} of another dtype, the model wants float32: {_some(wrong)}')
    bad = [
        name
        for name, dtype in dtypes.items()
        if np.issubdtype(dtype, np.floating) and not np.all(np.isfinite(values[name]))
    ]
    if bad:
        problems.append(f'{len(bad)} not finite numbers: {_some(bad)}')
    if problems:
        raise CheckpointError(
            f'{report.source} does not fit the model, nothing was loaded. ' + '. '.join(problems)
        )


def _some(names, separator=', '):
    return separator.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '')


def _assign(model, values):
    whole = {}
    for name, (variable, index) in official_variables(model).items():
        if name not in values:
            continue
        if index is None:
            variable.assign(values[name])
        else:
            whole.setdefault(id(variable), (variable, variable.numpy().copy()))[1][index] = values[
                name
            ]
    for variable, value in whole.values():
        variable.assign(value)


def _reinitialise(model, names):
    """Draws the named variables anew from their layers' own initializers."""
    for layer in model.layers:
        for variable in layer.weights:
            last = variable_path(variable).rpartition('/')[2]
            if f'{layer.name}.{last}'.replace('.', '/') in names:
                kind = last if last in ('kernel', 'bias') else last.removesuffix('_kernel')
                initializer = getattr(layer, f'{kind}_initializer')
                variable.assign(
                    type(initializer).from_config(initializer.get_config())(variable.shape)
                )
