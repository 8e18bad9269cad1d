"""State dicts of PyTorch's EfficientDets <-> {official variable name: array}."""

import itertools
import re
import typing
from collections.abc import Mapping

import numpy as np

from keras_efficientdet.errors import CheckpointError
from keras_efficientdet.weights.torch_dialects import (
    COUNTER,
    EFFDET,
    YET_ANOTHER,
    Dialect,
    network_of,
)

_VARIABLES = {
    'gamma': 'weight',
    'beta': 'bias',
    'moving_mean': 'running_mean',
    'moving_variance': 'running_var',
    'kernel': 'weight',
    'depthwise_kernel': 'weight',
    'pointwise_kernel': 'weight',
    'bias': 'bias',
}
# Training programs wrap their networks: in DataParallel, or together with the loss.
_WRAPPINGS = ('', 'module.', 'model.', 'module.model.')
# Layers that PyTorch's networks have as separable convolutions only.
_ONLY_SEPARABLE = re.compile(r'.*/op_after_combine\d+/conv|(class|box)_net/[a-z]+-(\d+|predict)')


class Place(typing.NamedTuple):
    """Where an official variable is in a state dict."""

    key: str
    axes: tuple[int, ...] | None = None  # of the official array, in PyTorch's order
    edge: int | None = None  # whose fusion weight it is, in the vector of its node


def from_torch(
    tensors: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    levels: tuple[int, int],
    label: str,
) -> dict[str, np.ndarray]:
    """The tensors of a state dict under official names and in the official layout.

    Args:
      tensors: {PyTorch's name: array}.
      shapes: {official name: shape} of the network that they are for.
      levels: the lowest and highest level of its pyramid.
      label: names the source in messages.
    Returns:
      {official name: array}. Tensors that the network has no place for keep their names, so that a
      strict load refuses them.
    Raises:
      CheckpointError: the names are of no known program.
    """
    dialect, tensors = _recognised(tensors, label)
    wanted = places(dialect, shapes, levels)
    values = {name: _read(tensors, place) for name, place in wanted.items()}
    used = {place.key for place in wanted.values() if place}
    others = {
        key: tensor
        for key, tensor in tensors.items()
        if key not in used and not re.fullmatch(dialect.ignored, key)
    }
    return {**{name: v for name, v in values.items() if v is not None}, **others}


def _recognised(tensors, label):
    """(Dialect, tensors without the prefix of a wrapping)."""
    for dialect, prefix in itertools.product((EFFDET, YET_ANOTHER), _WRAPPINGS):
        if prefix + dialect.marker in tensors:
            return dialect, {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
    raise CheckpointError(
        f'{label}: a state dict of neither effdet nor Yet-Another-EfficientDet-Pytorch; its names '
        f'begin with {list(tensors)[:3]}, expected {EFFDET.marker} or {YET_ANOTHER.marker}'
    )


def _read(tensors, place):
    """The value of an official variable; None if it is missing."""
    tensor = tensors.get(place.key) if place else None
    if tensor is None or (place.edge is not None and place.edge >= tensor.size):
        return None
    if place.edge is not None:
        return tensor[place.edge]
    if place.axes is None or tensor.ndim != len(place.axes):  # which a strict load refuses
        return tensor
    return np.ascontiguousarray(tensor.transpose(np.argsort(place.axes)))


def to_torch(values: Mapping[str, np.ndarray], levels: tuple[int, int]) -> dict[str, np.ndarray]:
    """{official name: array} of a detector as a state dict of effdet.

    Raises:
      CheckpointError: effdet has no place for a variable.
    """
    wanted = places(EFFDET, {name: value.shape for name, value in values.items()}, levels)
    lost = [name for name, place in wanted.items() if place is None]
    if lost:
        raise CheckpointError(
            f'effdet has no place for {len(lost)} variables: {", ".join(lost[:5])}; it has the '
            'anchor head on a BiFPN of separable convolutions'
        )
    tensors, edges = {}, {}
    for name, place in wanted.items():
        assert place  # since none is lost
        value = np.asarray(values[name], np.float32)
        if place.edge is not None:
            edges.setdefault(place.key, {})[place.edge] = value
            continue
        tensors[place.key] = value if place.axes is None else value.transpose(place.axes)
        if name.endswith('moving_variance'):
            tensors[f'{place.key.rpartition(".")[0]}.{COUNTER}'] = np.zeros((), np.int64)
    vectors = {key: np.stack([row[i] for i in sorted(row)]) for key, row in edges.items()}
    return {**tensors, **vectors}


def places(
    dialect: Dialect, shapes: Mapping[str, tuple[int, ...]], levels: tuple[int, int]
) -> dict[str, Place | None]:
    """{official name: Place, or None if the program has no such layer}."""
    network = network_of(shapes, levels)
    return {name: _place(dialect, name, shapes, network) for name in shapes}


def _place(dialect, name, shapes, network):
    layer, _, variable = name.rpartition('/')
    module = dialect.module(layer, network)
    if module is None:
        return None
    if variable.startswith('WSM'):
        return Place(module, edge=int(variable[4:] or 0))
    if _ONLY_SEPARABLE.fullmatch(layer):
        if f'{layer}/pointwise_kernel' not in shapes:
            return None
        depthwise, pointwise = dialect.separable
        module += depthwise if variable == 'depthwise_kernel' else pointwise
    axes = None
    if variable.endswith('kernel'):  # [h, w, C, 1] -> [C, 1, h, w], [h, w, in, out] -> [out, in...]
        axes = (2, 3, 0, 1) if variable == 'depthwise_kernel' else (3, 2, 0, 1)
    return Place(f'{module}.{_VARIABLES[variable]}', axes)
