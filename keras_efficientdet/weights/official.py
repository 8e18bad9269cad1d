"""Official variable names, and strict loading: all weights of a source fit the model, or none."""

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping

import keras
import numpy as np

from keras_efficientdet.keras_compat import variable_path
from keras_efficientdet.weights.files import EMA, read_checkpoint, write_checkpoint
from keras_efficientdet.weights.load_report import CLASS_PREDICT, LoadReport, check, report_of
from keras_efficientdet.weights.torch_files import is_torch_file, read_torch
from keras_efficientdet.weights.torch_names import from_torch

# State of optimizers and counters, in the names of TF1, Keras and TF2 checkpoints.
_SLOTS = re.compile(
    r'^(global_step|save_counter)$'
    r'|/(Momentum|RMSProp|RMSProp_1|Adam|Adam_1)$'
    r'|^optimizer/'
    r'|/\.OPTIMIZER_SLOT/'
)


def official_variables(model: keras.Model) -> dict:
    """{official name: (our variable, index into it or None)} of every weight of a model.

    Officially each edge of a BiFPN node has a variable: WSM, WSM_1, ... (a scalar, or one value per
    channel). Ours is one variable `WSM` per node, whose first axis runs over the edges.
    """
    table: dict[str, tuple] = {}
    for layer in model.layers:
        for variable in layer.weights:
            last = _last_name(layer, variable)
            if last == 'WSM':
                for i in range(variable.shape[0]):
                    edge = f'WSM_{i}' if i else 'WSM'
                    table[_official_name(layer, edge)] = (variable, i)
            else:
                table[_official_name(layer, last)] = (variable, None)
    return table


def _official_name(layer, last):
    # Keras 3 refuses slashes in the names of layers, so they have dots in their place.
    return f'{layer.name}.{last}'.replace('.', '/')


def _last_name(layer, variable):
    last = variable_path(variable).rpartition('/')[2]
    if last == 'kernel' and 'depthwise_conv2d' in layer.name:  # as Keras 3 calls it
        return 'depthwise_kernel'
    return last


def official_shapes(model: keras.Model) -> dict[str, tuple[int, ...]]:
    """{official name: shape} of every weight of a model."""
    shapes = {}
    for name, (variable, index) in official_variables(model).items():
        shapes[name] = tuple(variable.shape if index is None else variable.shape[1:])
    return shapes


def official_weights(model: keras.Model) -> dict[str, np.ndarray]:
    """{official name: float32 array} of every weight of a model."""
    values = {}
    for name, (variable, index) in official_variables(model).items():
        values[name] = variable.numpy() if index is None else variable.numpy()[index]
    return values


def load_official(
    model: keras.Model,
    source: str | os.PathLike | dict[str, np.ndarray],
    *,
    ema: bool = True,
    on_class_mismatch: str = 'error',
) -> LoadReport:
    """Loads official weights into a model, all of them or none.

    Args:
      model: the result of `efficientdet`.
      source: {official variable name: array}, or the path of a TF1 or TF2 checkpoint (prefix or
        directory), of an official h5 file, of an archive with one of these, or of a PyTorch state
        dict (`.pth`, `.safetensors`) of effdet or Yet-Another-EfficientDet-Pytorch.
      ema: use the moving average of a variable where the source has one. False: always the raw
        value.
      on_class_mismatch: 'error', or 'reinit': where the number of classes differs, the variables of
        `class-predict`, and no others, get new initial values.
    Raises:
      CheckpointError: the source is unreadable or incomplete, has variables that the model lacks,
        or has values of another shape, of another dtype or not finite. The message names the
        variables. The model is unchanged.
    """
    if isinstance(source, dict):
        return load_values(model, 'mapping', source, ema, on_class_mismatch)
    return load_values(model, str(source), weights_in(model, source), ema, on_class_mismatch)


def weights_in(model: keras.Model, path: str | os.PathLike) -> dict[str, np.ndarray]:
    """{official name: array} of a checkpoint of any format that `load_official` reads."""
    if not is_torch_file(path):
        return read_checkpoint(path)
    return from_torch(read_torch(path), official_shapes(model), levels_of(model), str(path))


def levels_of(model: keras.Model) -> tuple[int, int]:
    """The lowest and highest level of a detector's pyramid."""
    config = model.detection_config.model
    return config.min_level, config.max_level


def load_values(
    model: keras.Model,
    label: str,
    found: Mapping[str, np.ndarray],
    ema: bool = True,
    on_class_mismatch: str = 'error',
) -> LoadReport:
    """`load_official` of values that were read already; `label` names their source in messages."""
    if on_class_mismatch not in ('error', 'reinit'):
        raise ValueError(f'on_class_mismatch {on_class_mismatch!r}: expected error or reinit')
    values, averaged, slots = _select(found, ema)
    wanted = official_shapes(model)
    fresh = _other_class_count(values, wanted) if on_class_mismatch == 'reinit' else set()
    report = report_of(label, wanted, values, fresh)
    report = dataclasses.replace(
        report,
        averaged=tuple(sorted(averaged & set(report.loaded))),
        ema=ema,
        optimizer_state=tuple(sorted(slots)),
    )
    check(report, wanted, values)
    _assign(model, {name: values[name] for name in report.loaded})
    _reinitialise(model, fresh)
    return report


def _other_class_count(values, wanted):
    """Names of the class prediction's variables that have another shape in the source."""
    names = [name for name in wanted if CLASS_PREDICT.match(name) and name in values]
    return {name for name in names if np.shape(values[name]) != wanted[name]}


def save_official(
    model: keras.Model,
    prefix: str | os.PathLike,
    *,
    averages: Mapping[str, np.ndarray] | None = None,
    global_step: int = 0,
) -> None:
    """Writes a model's weights as a TF1 name-based checkpoint, which official code can load.

    Args:
      model: the result of `efficientdet`.
      prefix: path of the files without their endings. The file `checkpoint` beside them is
        rewritten to name this checkpoint as the newest.
      averages: {official variable name: array} with the moving average of every variable; None
        writes no averages.
      global_step: number of training steps done, written as int64.
    Raises:
      CheckpointError: `averages` does not fit the model; nothing was written.
    """
    values = official_weights(model)
    if averages is not None:
        wanted = official_shapes(model)
        check(report_of('averages', wanted, averages), wanted, averages)
    for name, value in (averages or {}).items():
        values[name + EMA] = np.asarray(value, np.float32)
    write_checkpoint(prefix, {**values, 'global_step': np.asarray(global_step, np.int64)})


def is_classifier(names: Iterable[str]) -> bool:
    """Whether these are the official names of a classifier's variables."""
    return any(name.endswith('/head/dense/bias') for name in names)


def load_backbone(
    model: keras.Model, values: Mapping[str, np.ndarray], label: str | None = None
) -> LoadReport:
    """Loads the weights of an ImageNet classifier into the backbone of a model.

    Args:
      model: the result of `efficientdet`.
      values: {official name: array} with every variable of the backbone, and moving averages,
        which are preferred. The classifier's own head ('<backbone>/head/...') is not loaded and
        reported as unused.
      label: names the source in messages; default: the name of the backbone.
    Raises:
      CheckpointError: the values do not fit the backbone. The model is unchanged.
    """
    prefix = model.detection_config.model.backbone_name + '/'
    shapes = official_shapes(model)
    wanted = {name: shape for name, shape in shapes.items() if name.startswith(prefix)}
    values, _, _ = _select(values, ema=True)
    unused = {name for name in values if name.startswith(f'{prefix}head/')}
    values = {name: value for name, value in values.items() if name not in unused}
    report = report_of(label or prefix[:-1], wanted, values)
    check(report, wanted, values)
    _assign(model, values)
    return dataclasses.replace(report, unused=tuple(sorted(unused)))


def _select(found, ema):
    """Sorts what a source holds: ({name: value}, names from averages, names of optimizer state)."""
    slots = {name for name in found if _SLOTS.search(name)}
    plain, shadows = {}, {}
    for name, value in found.items():
        if name.endswith(EMA):
            shadows[name.removesuffix(EMA)] = value
        elif name not in slots:
            plain[name] = value
    return ({**plain, **shadows}, set(shadows), slots) if ema else (plain, set(), slots)


def _assign(model, values):
    """Assigns {official name: array} to our variables."""
    whole = {}  # the variables of BiFPN nodes, which several official names make up
    for name, (variable, index) in official_variables(model).items():
        if name not in values:
            continue
        if index is None:
            variable.assign(values[name])
        else:
            _, edges = whole.setdefault(id(variable), (variable, variable.numpy().copy()))
            edges[index] = values[name]
    for variable, edges in whole.values():
        variable.assign(edges)


def _reinitialise(model, names):
    """Draws the named variables anew from the initializers of their layers."""
    for layer in model.layers:
        for variable in layer.weights:
            last = variable_path(variable).rpartition('/')[2]
            if _official_name(layer, last) in names:
                variable.assign(_fresh(layer, last, variable.shape))


def _fresh(layer, last, shape):
    """Layers name their initializers after the variable, 'depthwise_kernel' after 'depthwise'."""
    kind = last if last in ('kernel', 'bias') else last.removesuffix('_kernel')
    initializer = getattr(layer, f'{kind}_initializer')
    # An initializer gives the same values whenever it is called, a copy of it gives new ones.
    return type(initializer).from_config(initializer.get_config())(shape)
