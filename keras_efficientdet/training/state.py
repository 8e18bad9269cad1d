"""What the official trainer does around a step and plain Keras does not: averages of all weights, batch-norm warm-up."""

import numpy as np
import tensorflow as tf

from keras_efficientdet.keras_compat import build_once, variable_path
from keras_efficientdet.network.blocks import BN_MOMENTUM


class TrainingState:
    """Moving averages of every variable, and the ramp of the batch-norm momentum; works inside the compiled train step.

    The ramp: batch norm starts at mean 0 and variance 1, and with a constant momentum of 0.99 that start still weighs after
    hundreds of steps, so that a short training evaluates badly though its weights are good. With momentum
    min(0.99, (1 + t) / (10 + t)) it is gone after a few; from step 890 on the two are the same. Where gradients accumulate, a
    step moves the statistics once for each part: there 0.99 ** parts takes the place of 0.99.

    Args:
      model: a compiled model.
      decay: of the moving averages, min(decay, (1 + t) / (10 + t)); 0 for none.
      ramp: whether batch norm's momentum is ramped.
    """

    def __init__(self, model, decay, ramp):
        self.model, self.decay, self.ramp = model, decay, ramp
        self.momentum = BN_MOMENTUM ** (model.accumulation.steps if model.accumulation else 1)
        self.scaled = hasattr(model.optimizer, 'inner_optimizer')
        if self.scaled:
            build_once(
                model.optimizer, model.trainable_variables
            )  # Keras 3 makes its loss scale no earlier
        self.statistics = (
            [
                v
                for v in model.non_trainable_variables
                if variable_path(v).rpartition('/')[2].startswith('moving_')
            ]
            if ramp or self.scaled
            else []
        )
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
        optimizer = getattr(self.model.optimizer, 'inner_optimizer', self.model.optimizer)
        return tf.cast(tf.convert_to_tensor(optimizer.iterations), tf.float32)

    def _loss_scale(self):
        """float32 [2]: float16's loss scale, and how many steps went well since it changed."""
        optimizer = self.model.optimizer
        pair = (
            (optimizer.loss_scale, optimizer.dynamic_counter)
            if hasattr(optimizer, 'loss_scale')
            else (optimizer.dynamic_scale, optimizer.step_counter)
        )
        return tf.stack([tf.cast(tf.convert_to_tensor(value), tf.float32) for value in pair])

    def _overflowed(self, scale_before):
        """Whether the optimizer has left the step out, because of gradients beyond float16."""
        if not self.scaled:
            return False
        scale, good_steps = tf.unstack(self._loss_scale())
        return (good_steps == 0.0) & (scale <= scale_before[0])

    def before_step(self):
        """What the step is about to overwrite: the step count, the batch-norm statistics, the loss scale."""
        scale = self._loss_scale() if self.scaled else None
        return self._steps(), [tf.identity(tf.convert_to_tensor(v)) for v in self.statistics], scale

    def after_step(self, before):
        """Moves statistics and averages. The step count is that before the step, as in the official optimizer.

        A step that the optimizer left out changes neither.
        """
        step, statistics, scale = before
        overflowed = self._overflowed(scale)
        ramp = (1.0 + step) / (10.0 + step)
        stretch = (
            (1.0 - tf.minimum(self.momentum, ramp)) / (1.0 - self.momentum) if self.ramp else 1.0
        )
        for variable, old in zip(self.statistics, statistics, strict=True):
            variable.assign(
                tf.where(overflowed, old, old + stretch * (tf.convert_to_tensor(variable) - old))
            )
        decay = tf.where(overflowed, 1.0, tf.minimum(self.decay, ramp))
        for average, variable in self._pairs():
            average.assign_sub(
                (1.0 - decay) * (average - tf.cast(tf.convert_to_tensor(variable), tf.float32))
            )

    def evaluated(self):
        """Arrays of what is to be evaluated: the averages, or the weights where there are none. All workers must call it."""
        return [np.asarray(tf.convert_to_tensor(v)) for v in self.averages or self.variables]

    def set_weights(self, values):
        """Takes the values of another network's `evaluated` as weights."""
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(value)

    def keep(self):
        """The weights become what their averages are, outside of a step."""
        for average, variable in self._pairs():
            variable.assign(
                tf.cast(tf.convert_to_tensor(average), tf.convert_to_tensor(variable).dtype)
            )

    def swap(self):
        """Exchanges weights and averages, outside of a step; a second call exchanges them back."""
        for average, variable in self._pairs():
            value = tf.identity(tf.convert_to_tensor(variable))
            variable.assign(tf.cast(tf.convert_to_tensor(average), value.dtype))
            average.assign(tf.cast(value, tf.float32))


def _shadow(variable):
    return tf.Variable(
        tf.cast(tf.convert_to_tensor(variable), tf.float32),
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,  # replicas average alike: nothing to exchange
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
