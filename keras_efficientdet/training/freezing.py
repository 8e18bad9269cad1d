"""Freezes layers by patterns over the official names of their variables."""

import difflib
import math
import re

from keras_efficientdet.errors import ConfigError
from keras_efficientdet.network.training_plan import TrainingPlan
from keras_efficientdet.weights.official import official_variables


def freeze_anew(model, patterns):
    """`freeze` in place of an earlier call: layers that the earlier one froze are trained again.

    Layers that the user froze stay frozen. Args, Returns, Raises: as for `freeze`; without patterns
    (None) it returns None.
    """
    earlier = model.plan.frozen
    for layer in model.layers:
        if layer.name in earlier:
            layer.trainable = True
    before = {layer.name for layer in model.layers if layer.trainable}
    model.attach(TrainingPlan())
    text = freeze(model, patterns) if patterns else None
    still = {layer.name for layer in model.layers if layer.trainable}
    model.attach(TrainingPlan(frozen=frozenset(before - still)))
    return text


def freeze(model, patterns):
    """Sets `trainable` of the matched layers to False.

    To be called before `compile`. Neither weights nor moving statistics of a frozen layer change,
    its batch norm runs in inference mode, and its L2 is not counted.

    Args:
      model: the result of `efficientdet`.
      patterns: parts of names, or regular expressions for re.search, matched against the official
        name of each layer ('efficientnet-b0/blocks_0/conv2d') and of its variables
        ('efficientnet-b0/blocks_0/conv2d/kernel').
    Returns:
      A sentence about how much is frozen.
    Raises:
      ConfigError: a pattern matches nothing, matches only some of a layer's variables (layers are
        frozen as a whole), or is not a regular expression; or nothing would be left to train.
    Source: google/automl `var_freeze_expr`.
    """
    variables = _variables_by_layer(model)
    frozen = {layer for pattern in patterns for layer in _matched(pattern, variables)}
    if frozen == set(variables):
        raise ConfigError(f'freeze {list(patterns)} matches every layer: nothing is left to train')
    for layer in model.layers:
        if layer.name.replace('.', '/') in frozen:
            layer.trainable = False
    names = [name for layer in frozen for name in variables[layer]]
    return (
        f'frozen: {len(frozen)} of {len(variables)} layers with {len(names)} variables, '
        f'{_parameters(model, names):,} parameters'
    )


def _variables_by_layer(model):
    """{official name of a layer: official names of its variables}"""
    found = {}
    for name in official_variables(model):
        found.setdefault(name.rpartition('/')[0], []).append(name)
    return found


def _matched(pattern, variables):
    """Names of the layers that a pattern freezes."""
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise ConfigError(f'freeze {pattern!r} is not a regular expression: {error}') from error
    matched = set()
    for layer, names in variables.items():
        hits = names if search(layer) else [name for name in names if search(name)]
        if hits and len(hits) < len(names):
            missed = sorted(set(names) - set(hits))[0]
            raise ConfigError(
                f'freeze {pattern!r} matches {hits[0]} but not {missed}; layers are frozen as a '
                f'whole, so let it match the layer, like {layer!r}'
            )
        if hits:
            matched.add(layer)
    if not matched:
        raise ConfigError(f'freeze {pattern!r} matches no variable; {_close(pattern, variables)}')
    return matched


def _close(pattern, layers):
    """A hint: names of layers, or beginnings of them, that are like the pattern."""
    names = set()
    for layer in layers:
        parts = layer.split('/')
        names |= {'/'.join(parts[:depth]) for depth in range(1, len(parts) + 1)}
    close = difflib.get_close_matches(pattern, sorted(names), n=3, cutoff=0.5)
    if close:
        return f'did you mean {", ".join(close)}?'
    return f'names begin with {", ".join(sorted(name for name in names if "/" not in name))}'


def _parameters(model, names):
    """How many numbers the variables of these official names have together."""
    count = 0
    table = official_variables(model)
    for name in names:
        variable, index = table[name]
        count += math.prod(variable.shape if index is None else variable.shape[1:])
    return count
