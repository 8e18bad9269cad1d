"""What the official trainer does around a step and Keras does not: averages, batch-norm ramp."""

import pathlib

import keras
import numpy as np
import tensorflow as tf

from keras_efficientdet.keras_compat import (
    build_once,
    loss_scale,
    loss_scale_variables,
    scales_losses,
    unscaled_optimizer,
    variable_path,
)
from keras_efficientdet.network.blocks import BN_MOMENTUM

_FILE = 'training_state.npz'  # among the assets of a `.keras` file


class TrainingState:
    """Moving averages of every variable, and the ramp of the batch-norm momentum.

    Both work inside the compiled training step. The ramp: batch norm starts at mean 0 and variance
    1, and with a constant momentum of 0.99 that start still has weight after hundreds of steps, so
    that a short training evaluates badly although its weights are good. With momentum
    min(0.99, (1 + t) / (10 + t)) it is gone after a few steps; from step 890 on the two are the
    same. Where gradients accumulate, a step moves the statistics once for each part, and
    0.99 ** parts takes the place of 0.99.

    Args:
      model: a compiled model.
      decay: of the moving averages, min(decay, (1 + t) / (10 + t)); 0 for no averages.
      ramp: whether batch norm's momentum is ramped.
      parts: in how many parts a batch goes through the network.
    """

    def __init__(self, model: keras.Model, decay: float, ramp: bool, parts: int = 1):
        self.model = model
        self.decay = decay
        self.ramp = ramp
        self.momentum = BN_MOMENTUM**parts
        self.scaled = scales_losses(model.optimizer)
        if self.scaled:
            # Keras 3 makes the variables of its loss scale no earlier.
            build_once(model.optimizer, model.trainable_variables)
        # A step that overflows float16 has to take back what it did to them.
        self.statistics = _statistics(model) if ramp or self.scaled else []
        with model.distribute_strategy.scope():
            self.averages = [_shadow(v) for v in model.weights] if decay else []

    @property
    def variables(self):
        """The model's variables that `averages` follow, in the same order."""
        return self.model.weights

    def _pairs(self):
        """[(average, variable)]; none where there are no averages."""
        return list(zip(self.averages, self.variables, strict=True)) if self.averages else []

    def _steps(self):
        optimizer = unscaled_optimizer(self.model.optimizer)
        return tf.cast(tf.convert_to_tensor(optimizer.iterations), tf.float32)

    def _overflowed(self, scale_before):
        """Whether the optimizer skipped the step, because of gradients beyond float16."""
        if not self.scaled:
            return False
        scale, good_steps = tf.unstack(loss_scale(self.model.optimizer))
        return (good_steps == 0.0) & (scale <= scale_before[0])

    def before_step(self):
        """What the step will overwrite: step count, batch-norm statistics, loss scale."""
        scale = loss_scale(self.model.optimizer) if self.scaled else None
        return self._steps(), [tf.identity(tf.convert_to_tensor(v)) for v in self.statistics], scale

    def after_step(self, before):
        """Moves statistics and averages; neither, if the optimizer skipped the step.

        The step count is that before the step, as in the official optimizer.
        """
        step, statistics, scale = before
        overflowed = self._overflowed(scale)
        ramp = (1.0 + step) / (10.0 + step)
        stretch = 1.0
        if self.ramp:
            # The layer moved them by 1 - momentum of the way; with the ramp they go further.
            stretch = (1.0 - tf.minimum(self.momentum, ramp)) / (1.0 - self.momentum)
        for variable, old in zip(self.statistics, statistics, strict=True):
            moved = old + stretch * (tf.convert_to_tensor(variable) - old)
            variable.assign(tf.where(overflowed, old, moved))
        decay = tf.where(overflowed, 1.0, tf.minimum(self.decay, ramp))
        for average, variable in self._pairs():
            value = tf.cast(tf.convert_to_tensor(variable), tf.float32)
            average.assign_sub((1.0 - decay) * (average - value))

    def evaluated(self):
        """Arrays of what is to be evaluated: the averages, or the weights where there are none.

        Over several workers all of them must call it.
        """
        return [np.asarray(tf.convert_to_tensor(v)) for v in self.averages or self.variables]

    def set_weights(self, values):
        """Takes the values of another network's `evaluated` as weights."""
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(value)

    def keep(self):
        """The weights become what their averages are, outside of a step."""
        for average, variable in self._pairs():
            dtype = tf.convert_to_tensor(variable).dtype
            variable.assign(tf.cast(tf.convert_to_tensor(average), dtype))

    def swap(self):
        """Exchanges weights and averages, outside of a step; a second call exchanges them back."""
        for average, variable in self._pairs():
            value = tf.identity(tf.convert_to_tensor(variable))
            variable.assign(tf.cast(tf.convert_to_tensor(average), value.dtype))
            average.assign(tf.cast(value, tf.float32))

    def _saved(self):
        """{name: variable} of what `.keras` files lack, although the next step depends on it."""
        names = {f'average.{i}': variable for i, variable in enumerate(self.averages)}
        more = loss_scale_variables(self.model.optimizer)
        return names | {f'loss_scale.{i}': variable for i, variable in enumerate(more)}

    def save(self, folder):
        """Writes averages and loss scale into a folder of a `.keras` file."""
        arrays = {name: tf.convert_to_tensor(v).numpy() for name, v in self._saved().items()}
        np.savez(pathlib.Path(folder) / _FILE, **arrays)

    def load(self, folder):
        """Takes what `save` wrote for the same model."""
        with np.load(pathlib.Path(folder) / _FILE) as arrays:
            for name, variable in self._saved().items():
                variable.assign(arrays[name])


def _statistics(model):
    """Moving means and variances of all batch norms."""
    names = [(v, variable_path(v).rpartition('/')[2]) for v in model.non_trainable_variables]
    return [variable for variable, name in names if name.startswith('moving_')]


def _shadow(variable):
    return tf.Variable(
        tf.cast(tf.convert_to_tensor(variable), tf.float32),
        trainable=False,
        # Each replica moves its own copy, and all alike: there is nothing to exchange.
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
