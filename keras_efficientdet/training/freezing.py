"""Freezes layers by patterns over the official names of their variables."""

import difflib
import math
import re

from keras_efficientdet.errors import ConfigError
from keras_efficientdet.weights.official import official_variables


def freeze_anew(model, patterns):
    """`freeze` in the place of an earlier call of this: what that froze trains again first, and what the user froze stays frozen.

    Args, Returns, Raises: as for `freeze`; without patterns (None) it returns None.
    """
    for layer in model.layers:
        if layer.name in model.frozen:
            layer.trainable = True
    before = {layer.name for layer in model.layers if layer.trainable}
    model.frozen = frozenset()
    said = freeze(model, patterns) if patterns else None
    model.frozen = frozenset(before - {layer.name for layer in model.layers if layer.trainable})
    return said


def freeze(model, patterns):
    """Sets `trainable` of the matched layers to False; their batch norm then runs in inference mode.

    Call it before `compile`. Neither weights nor moving statistics of a frozen layer change, and its L2 is not counted.

    Args:
      model: the result of `efficientdet`.
      patterns: parts of names, or regular expressions for re.search, matched against the official name of each layer
        ('efficientnet-b0/blocks_0/conv2d') and of its variables ('efficientnet-b0/blocks_0/conv2d/kernel').
    Returns:
      A sentence that says how much is frozen.
    Raises:
      ConfigError: a pattern that matches nothing, that matches some variables of a layer and not all (layers are frozen
        as a whole), or that is no regular expression; or nothing would be left to train.
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
        raise ConfigError(f'freeze {pattern!r} is no regular expression: {error}') from error
    matched = set()
    for layer, names in variables.items():
        hits = names if search(layer) else [name for name in names if search(name)]
        if hits and len(hits) < len(names):
            raise ConfigError(
                f'freeze {pattern!r} matches {hits[0]} but not {sorted(set(names) - set(hits))[0]}; layers are '
                f'frozen as a whole, so let it match the layer, like {layer!r}'
            )
        matched |= {layer} if hits else set()
    if not matched:
        raise ConfigError(f'freeze {pattern!r} matches no variable; {_close(pattern, variables)}')
    return matched


def _close(pattern, layers):
    """Names like the pattern: of whole layers and of what stands above them."""
    above = {
        '/'.join(layer.split('/')[:depth])
        for layer in layers
        for depth in range(1, layer.count('/') + 2)
    }
    close = difflib.get_close_matches(pattern, sorted(above), n=3, cutoff=0.5)
    return (
        f'did you mean {", ".join(close)}?'
        if close
        else f'names begin with {", ".join(sorted({layer.split("/")[0] for layer in layers}))}'
    )


def _parameters(model, names):
    table = official_variables(model)
    return sum(
        math.prod(v.shape if i is None else v.shape[1:]) for v, i in (table[name] for name in names)
    )
