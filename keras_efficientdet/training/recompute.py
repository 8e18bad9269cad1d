"""Gradient checkpointing: the training step keeps few features and computes the others again for their gradients."""

import inspect
import math
import typing

import keras
import tensorflow as tf

from keras_efficientdet.network.layers import computed_again

_BUDGETS = 24


class Call(typing.NamedTuple):
    """One call of a layer in a functional model; tensors are named by (id of the layer, number of its call, output)."""

    layer: typing.Any
    inputs: tuple
    output: tuple
    size: int  # elements of the output, of one image


def recomputing(model):
    """The forward pass of a functional model in segments that keep nothing but what they pass on.

    The backward pass runs each segment again before it takes its gradients, with the same stochastic depth, and without
    moving batch-norm statistics a second time. Where to cut follows from the sizes of the features: the cuts are those
    for which the features kept and the largest segment together are smallest.

    Args:
      model: a functional keras.Model whose layers have one output each and an input size that is fixed.
    Returns:
      Function images [B, H, W, 3] -> what model(images, training=True) returns.
    Source: Chen et al. 2016, arXiv:1604.06174.
    """
    calls, outputs = _calls(model), [_name(tensor) for tensor in tf.nest.flatten(model.output)]
    segments = []
    for segment in _cut(calls, set(outputs)):
        made = {call.output for call in segment}
        needed = dict.fromkeys(name for call in segment for name in call.inputs if name not in made)
        later = {name for call in calls if call not in segment for name in call.inputs} | set(
            outputs
        )
        segments.append(
            (segment, list(needed), [call.output for call in segment if call.output in later])
        )

    def forward(images):
        features = {_name(model.inputs[0]): images}
        for segment, needed, passed_on in segments:
            run = _run_twice(segment, needed, passed_on)
            features.update(zip(passed_on, run(*(features[name] for name in needed)), strict=True))
        return tf.nest.pack_sequence_as(model.output, [features[name] for name in outputs])

    return forward


@keras.saving.register_keras_serializable('keras_efficientdet')
class RecomputedLoss(keras.losses.Loss):
    """The same loss, one image at a time, which keeps nothing for its gradient but targets and predictions.

    The dozen tensors [B, A, K] of a focal loss are as large as the features of the network.

    Args:
      loss: a keras.losses.Loss whose `call` gives float32 [B], or its serialised form.
    """

    def __init__(self, loss, name='recomputed_loss', reduction='sum', **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.loss = keras.saving.deserialize_keras_object(loss) if isinstance(loss, dict) else loss

    def call(self, y_true, y_pred):
        def one(pair):
            truth = pair[0][None]
            return tf.recompute_grad(lambda prediction: self.loss.call(truth, prediction[None])[0])(
                pair[1]
            )

        return tf.map_fn(
            one, (y_true, y_pred), parallel_iterations=1, fn_output_signature=tf.float32
        )

    def get_config(self):
        return {**super().get_config(), 'loss': keras.saving.serialize_keras_object(self.loss)}


def _run_twice(segment, needed, passed_on):
    """A function of tensors with a gradient that runs it again; one for each forward pass."""
    runs = []

    def run(*tensors):
        features = dict(zip(needed, tensors, strict=True))
        for call in segment:
            arguments = [features[name] for name in call.inputs]
            training = (
                {'training': True}
                if 'training' in inspect.signature(call.layer.call).parameters
                else {}
            )
            features[call.output] = call.layer(
                arguments if len(arguments) > 1 else arguments[0], **training
            )
        return [features[name] for name in passed_on]

    def run_and_count(*tensors):
        runs.append(1)
        if len(runs) == 1:
            return run(*tensors)
        with computed_again():
            return run(*tensors)

    return tf.recompute_grad(run_and_count)


def _name(tensor):
    layer, call, output = tensor._keras_history[:3]
    return id(layer), call, output


def _calls(model):
    """The calls of a model in an order in which they can run: each as late as the first output needs it."""
    calls, open_, done = (
        [],
        [*reversed(tf.nest.flatten(model.output))],
        {_name(t) for t in model.inputs},
    )
    while open_:
        tensor = open_[-1]
        layer, number = tensor._keras_history[:2]
        node = layer._inbound_nodes[number]
        inputs = (
            node.keras_inputs if hasattr(node, 'keras_inputs') else node.input_tensors
        )  # Keras 2, Keras 3
        missing = [t for t in inputs if _name(t) not in done]
        open_ += reversed(missing)
        if missing:
            continue
        open_.pop()
        if _name(tensor) not in done:
            done.add(_name(tensor))
            calls.append(
                Call(layer, tuple(map(_name, inputs)), _name(tensor), math.prod(tensor.shape[1:]))
            )
    return calls


def _cut(calls, wanted):
    """Calls -> segments. Tries limits for the size of a segment, and keeps the least of limit plus features kept."""
    last_use = {name: i for i, call in enumerate(calls) for name in call.inputs} | dict.fromkeys(
        wanted, len(calls)
    )
    sizes, ends = [call.size for call in calls], [last_use[call.output] for call in calls]
    least, most = max(sizes), sum(sizes)
    limits = [least * (most / least) ** (i / (_BUDGETS - 1)) for i in range(_BUDGETS)]
    _, cuts = min(
        (
            (kept + limit, cuts)
            for limit in limits
            for kept, cuts in [_best_cuts(sizes, ends, limit)]
        )
    )
    return [calls[a:b] for a, b in zip([0, *cuts], [*cuts, len(calls)], strict=True)]


def _best_cuts(sizes, ends, limit):
    """(elements kept, cuts): the least that consecutive segments of at most `limit` elements pass on to later ones."""
    best, start = [0], [0]
    for stop in range(1, len(sizes) + 1):
        inside = passed_on = 0
        best.append(math.inf)
        start.append(stop - 1)
        for i in range(stop - 1, -1, -1):
            inside += sizes[i]
            passed_on += sizes[i] * (ends[i] >= stop)
            if inside > limit and i < stop - 1:
                break
            if best[i] + passed_on < best[stop]:
                best[stop], start[stop] = best[i] + passed_on, i
    cuts, stop = [], start[-1]
    while stop:
        cuts.insert(0, stop)
        stop = start[stop]
    return best[-1], cuts
