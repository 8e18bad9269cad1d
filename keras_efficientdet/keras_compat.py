"""Every difference between Keras 2.15 and Keras 3 that this package meets.

No other file tests for the generation of Keras, or uses names that only one of them has. Each
docstring describes the difference. To drop Keras 2 one day, reduce each function to its Keras 3
branch and move it to its caller. Nothing of the package is imported here, so that every room may
import this file.
"""

import typing

import keras
import tensorflow as tf

KERAS_3 = hasattr(keras, 'ops')

# Keras 2 clips gradients that are summed over replicas already, Keras 3 those of each replica.
CLIPS_BEFORE_REPLICAS_ARE_SUMMED = KERAS_3

# Keras 3 fails while it traces several steps in one execution over several replicas.
RUNS_SEVERAL_STEPS_OVER_REPLICAS = not KERAS_3


def variable_path(variable: typing.Any) -> str:
    """'layer/kernel'. Keras 3 calls it `path`; the name on Keras 2 is the path and ':0'."""
    return getattr(variable, 'path', None) or variable.name.split(':')[0]


def tf_variable(variable: typing.Any) -> tf.Variable:
    """What a gradient tape watches. A Keras 3 variable wraps it, on Keras 2 it is the variable."""
    return variable if isinstance(variable, tf.Variable) else variable.value


def new_variable(values: typing.Any) -> typing.Any:
    """A variable for an optimizer: a tf.Variable on Keras 2, a keras.Variable on Keras 3."""
    return keras.Variable(values) if KERAS_3 else tf.Variable(values)


def build_once(optimizer: keras.optimizers.Optimizer, variables: list) -> None:
    """Makes the optimizer's variables where they do not exist yet.

    On Keras 2 `build` may be called again; the LossScaleOptimizer of Keras 3 would make new ones.
    """
    if not getattr(optimizer, 'built', False):
        optimizer.build(variables)


def scales_losses(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether this is a LossScaleOptimizer, which `compile` wraps around that of mixed_float16.

    The public class of Keras 2 is a factory, of which no optimizer is an instance.
    """
    return hasattr(optimizer, 'inner_optimizer')


def unscaled_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer itself, without a LossScaleOptimizer around it.

    The wrapper passes on other attributes on Keras 2 than on Keras 3, and on neither the schedule.
    """
    return getattr(optimizer, 'inner_optimizer', optimizer)


def loss_scale(optimizer: keras.optimizers.Optimizer) -> tf.Tensor:
    """float32 [2] of a LossScaleOptimizer: the scale, and the good steps since it last changed.

    Keras 2: `loss_scale`, `dynamic_counter`. Keras 3: `dynamic_scale`, `step_counter`.
    """
    if KERAS_3:
        pair = optimizer.dynamic_scale, optimizer.step_counter
    else:
        pair = optimizer.loss_scale, optimizer.dynamic_counter
    return tf.stack([tf.cast(tf.convert_to_tensor(value), tf.float32) for value in pair])


def loss_scale_variables(optimizer: keras.optimizers.Optimizer) -> list:
    """Variables of the loss scale that `optimizer.variables` lacks: all on Keras 2, else none."""
    scale = getattr(optimizer, '_loss_scale', None)
    if scale is None or not hasattr(scale, 'current_loss_scale'):
        return []
    return [scale.current_loss_scale, scale.counter]


def scaled_loss(optimizer: keras.optimizers.Optimizer, loss: tf.Tensor) -> tf.Tensor:
    """The loss as loss scaling for float16 needs it; the loss itself without loss scaling.

    Keras 2: `get_scaled_loss`, of LossScaleOptimizer only. Keras 3: `scale_loss` of any optimizer.
    """
    if KERAS_3:
        return optimizer.scale_loss(loss)
    return optimizer.get_scaled_loss(loss) if scales_losses(optimizer) else loss


def unscaled_gradients(optimizer: keras.optimizers.Optimizer, gradients: list) -> list:
    """Gradients of a scaled loss as `apply_gradients` takes them.

    Keras 2 wants them divided by the loss scale; Keras 3 divides them itself.
    """
    if KERAS_3 or not scales_losses(optimizer):
        return gradients
    return optimizer.get_unscaled_gradients(gradients)


def rate_or_schedule(optimizer: keras.optimizers.Optimizer) -> typing.Any:
    """The learning rate schedule, or the variable of the rate where there is no schedule.

    The public `learning_rate` is a number: on Keras 2 the rate of the last step, on Keras 3 that of
    the next step. The schedule behind it is private.
    """
    return unscaled_optimizer(optimizer)._learning_rate


def count_loss(model: keras.Model, loss: tf.Tensor, images: tf.Tensor) -> None:
    """Adds the loss of a custom training step to the mean that is logged as `loss`.

    `compute_loss` does it on Keras 2; on Keras 3 the training step that calls it has to.
    """
    if KERAS_3:
        model._loss_tracker.update_state(loss, sample_weight=tf.shape(images)[0])


def logs_over_workers(logs: dict, replicas: int) -> dict:
    """{name: mean} of a step as the training loop of several workers takes them.

    Keras 2 adds up those of the replicas, although they are equal already. Keras 3 averages them
    along an axis that scalars lack (keras#20585).
    """
    if KERAS_3:
        return {name: value[None] for name, value in logs.items()}
    return {name: value / replicas for name, value in logs.items()}


def layer_of(tensor: typing.Any) -> tuple:
    """(layer, number of its call, number of its output) of a tensor of a functional model.

    The record is private; on Keras 2 it is a tuple with these names, on Keras 3 with other names.
    """
    return tuple(tensor._keras_history[:3])


def inputs_of_call(layer: keras.layers.Layer, number: int) -> list:
    """The Keras tensors that a layer took in one of its calls.

    The node of a call is private: `keras_inputs` on Keras 2, `input_tensors` on Keras 3.
    """
    node = layer._inbound_nodes[number]
    return node.input_tensors if KERAS_3 else node.keras_inputs


def variables_in_weights_file(model: keras.Model) -> list:
    """What `model.save_weights` writes: the model's on Keras 2, on Keras 3 the optimizer's too."""
    of_optimizer = model.optimizer.variables if KERAS_3 and model.optimizer else []
    return [*model.weights, *of_optimizer]


def layer_calls(model: keras.Model) -> list:
    """(layer, output tensors) of each call of a layer in a functional model, in no order.

    The node of a call is private: it names the layer `layer` on Keras 2, `operation` on Keras 3.
    """
    nodes = [node for nodes in model._nodes_by_depth.values() for node in nodes]
    return [(node.operation if KERAS_3 else node.layer, node.outputs) for node in nodes]
