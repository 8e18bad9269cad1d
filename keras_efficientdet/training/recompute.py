"""Gradient checkpointing: a training step keeps few features and computes the others again."""

import inspect
import math
import typing

import keras
import tensorflow as tf

from keras_efficientdet.keras_compat import inputs_of_call, layer_of
from keras_efficientdet.network.layers import computed_again

_LIMITS = 24  # sizes of the largest segment that are tried


class Call(typing.NamedTuple):
    """One call of a layer in a functional model; tensors are named as `_name` does."""

    layer: keras.layers.Layer
    inputs: tuple
    output: tuple
    size: int  # elements of the output, for one image


class Segment(typing.NamedTuple):
    """Consecutive calls. needed: what they take from before. passed_on: what later ones take."""

    calls: list
    needed: list
    passed_on: list


def recomputing(model: keras.Model) -> typing.Callable[[tf.Tensor], dict]:
    """The forward pass of a functional model in segments that keep only what they pass on.

    The backward pass runs each segment again before it takes its gradients, with the same
    stochastic depth, and without moving batch-norm statistics a second time. The cuts follow from
    the sizes of the features: they are those for which the features kept and the largest segment
    together are smallest.

    Args:
      model: a functional keras.Model of fixed input size, whose layers have one output each.
    Returns:
      Function images [B, H, W, 3] -> what model(images, training=True) returns.
    Source: Chen et al. 2016, arXiv:1604.06174.
    """
    outputs = [_name(tensor) for tensor in tf.nest.flatten(model.output)]
    segments = _segments(_calls(model), outputs)

    def forward(images):
        features = {_name(model.inputs[0]): images}
        for segment in segments:
            run = _run_twice(segment)
            results = run(*(features[name] for name in segment.needed))
            features.update(zip(segment.passed_on, results, strict=True))
        return tf.nest.pack_sequence_as(model.output, [features[name] for name in outputs])

    return forward


@keras.saving.register_keras_serializable('keras_efficientdet')
class RecomputedLoss(keras.losses.Loss):
    """The same loss, one image at a time, keeping only targets and predictions for its gradient.

    The dozen tensors [B, A, K] of a focal loss are as large as the features of the network.

    Args:
      loss: a keras.losses.Loss whose `call` gives float32 [B], or its serialised form.
    """

    def __init__(self, loss, name='recomputed_loss', reduction='sum', **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.loss = keras.saving.deserialize_keras_object(loss) if isinstance(loss, dict) else loss

    def call(self, y_true, y_pred):
        def of_image(pair):
            truth, prediction = pair
            recomputed = tf.recompute_grad(lambda p: self.loss.call(truth[None], p[None])[0])
            return recomputed(prediction)

        # One after the other: images in parallel would need the memory of several.
        return tf.map_fn(
            of_image, (y_true, y_pred), parallel_iterations=1, fn_output_signature=tf.float32
        )

    def get_config(self):
        return {**super().get_config(), 'loss': keras.saving.serialize_keras_object(self.loss)}


def _run_twice(segment):
    """A function of tensors whose gradient runs it again; to be made for each forward pass."""
    runs = []

    def run(*tensors):
        features = dict(zip(segment.needed, tensors, strict=True))
        for call in segment.calls:
            arguments = [features[name] for name in call.inputs]
            inputs = arguments if len(arguments) > 1 else arguments[0]
            features[call.output] = call.layer(inputs, **_training(call.layer))
        return [features[name] for name in segment.passed_on]

    def run_and_count(*tensors):
        runs.append(1)
        if len(runs) == 1:
            return run(*tensors)
        with computed_again():
            return run(*tensors)

    return tf.recompute_grad(run_and_count)


def _training(layer):
    """The argument `training` for layers that have one."""
    return {'training': True} if 'training' in inspect.signature(layer.call).parameters else {}


def _name(tensor):
    """(id of the layer, number of its call, number of the output): tensors cannot be keys."""
    layer, call, output = layer_of(tensor)
    return id(layer), call, output


def _calls(model):
    """The calls of a model in an order in which they can run: each as late as the first output
    needs it."""
    calls = []
    done = {_name(tensor) for tensor in model.inputs}
    waiting = [*reversed(tf.nest.flatten(model.output))]
    while waiting:
        tensor = waiting[-1]
        layer, number, _ = layer_of(tensor)
        inputs = inputs_of_call(layer, number)
        missing = [t for t in inputs if _name(t) not in done]
        waiting += reversed(missing)
        if missing:
            continue
        waiting.pop()
        if _name(tensor) not in done:
            done.add(_name(tensor))
            size = math.prod(tensor.shape[1:])
            calls.append(Call(layer, tuple(map(_name, inputs)), _name(tensor), size))
    return calls


def _segments(calls, outputs):
    segments = []
    for part in _cut(calls, set(outputs)):
        made = {call.output for call in part}
        taken = dict.fromkeys(name for call in part for name in call.inputs)
        elsewhere = {name for call in calls if call not in part for name in call.inputs}
        needed = [name for name in taken if name not in made]
        passed_on = [c.output for c in part if c.output in elsewhere | set(outputs)]
        segments.append(Segment(part, needed, passed_on))
    return segments


def _cut(calls, wanted):
    """Calls -> lists of consecutive calls, for the least memory.

    A step needs room for what segments pass on, and for the largest segment while it runs again.
    So limits for the size of a segment are tried, from that of the largest feature to that of the
    whole network, and for each of them the cuts that keep the least.

    Cutting at the borders of blocks and cells by their names would be shorter. It is not done
    because the large features of the first blocks want cuts inside of blocks, and because networks
    with other names, as those of tests, have to work.
    """
    last_use = {name: i for i, call in enumerate(calls) for name in call.inputs}
    last_use |= dict.fromkeys(wanted, len(calls))
    sizes = [call.size for call in calls]
    ends = [last_use[call.output] for call in calls]
    least, most = max(sizes), sum(sizes)
    found = []
    for i in range(_LIMITS):
        limit = least * (most / least) ** (i / (_LIMITS - 1))
        kept, cuts = _best_cuts(sizes, ends, limit)
        found.append((kept + limit, cuts))
    _, cuts = min(found)
    return [calls[a:b] for a, b in zip([0, *cuts], [*cuts, len(calls)], strict=True)]


def _best_cuts(sizes, ends, limit):
    """(elements kept, cuts): the least that segments of at most `limit` elements pass on.

    Dynamic programming: best[stop] is the least that segments of the first `stop` calls keep, so

      best[stop] = min over i of best[i] + the elements of calls i to stop - 1 that are used later

    where calls i to stop - 1, the last segment, have at most `limit` elements (or are one call).
    begin[stop] is the i of the minimum, from which the cuts are read backwards.
    """
    best, begin = [0], [0]
    for stop in range(1, len(sizes) + 1):
        inside = passed_on = 0
        best.append(math.inf)
        begin.append(stop - 1)
        for i in range(stop - 1, -1, -1):
            inside += sizes[i]
            passed_on += sizes[i] * (ends[i] >= stop)
            if inside > limit and i < stop - 1:
                break
            if best[i] + passed_on < best[stop]:
                best[stop] = best[i] + passed_on
                begin[stop] = i
    cuts, stop = [], begin[-1]
    while stop:
        cuts.insert(0, stop)
        stop = begin[stop]
    return best[-1], cuts
