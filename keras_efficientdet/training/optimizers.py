"""SGD and Adam with the official double clipping."""

import keras
import tensorflow as tf

from keras_efficientdet.config.schema import TrainConfig
from keras_efficientdet.keras_compat import (
    CLIPS_BEFORE_REPLICAS_ARE_SUMMED,
    rate_or_schedule,
    unscaled_optimizer,
)
from keras_efficientdet.training.schedules import assignable_rate, learning_rate

_register = keras.saving.register_keras_serializable('keras_efficientdet')


def clip_twice(gradients, norm):
    """Clips each gradient to the L2 norm `norm`, then all together to that global norm.

    None stays None. Source: google/automl tf2/train_lib.
    """
    gradients = [g if g is None else tf.clip_by_norm(g, norm) for g in gradients]
    return tf.clip_by_global_norm(gradients, norm)[0]


class _ClipsTwice:
    """Optimizer mixin: `clip_twice`. Keras' own clipnorm and global_clipnorm exclude one another.

    The gradient of the whole batch is clipped, however many replicas it is spread over. Where Keras
    clips before it sums the gradients of the replicas, they are summed here first, and each replica
    takes an equal share of the clipped sum.
    """

    part_of_a_plan = True  # `DetectionModel` refuses to train with it alone

    def _clip_gradients(self, gradients):
        if not self.clip:
            return gradients
        replicas = tf.distribute.get_replica_context()
        count = tf.distribute.get_strategy().num_replicas_in_sync
        if count == 1 or replicas is None or not CLIPS_BEFORE_REPLICAS_ARE_SUMMED:
            return clip_twice(gradients, self.clip)
        known = [g for g in gradients if g is not None]
        summed = iter(clip_twice(replicas.all_reduce(tf.distribute.ReduceOp.SUM, known), self.clip))
        return [g if g is None else next(summed) / count for g in gradients]

    def get_config(self):
        return {**super().get_config(), 'clip': self.clip}


@_register
class SGD(_ClipsTwice, keras.optimizers.SGD):
    """keras.optimizers.SGD with `clip`: the norm of `clip_twice`, or 0."""

    def __init__(self, *args, clip=0.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.clip = clip


@_register
class Adam(_ClipsTwice, keras.optimizers.Adam):
    """keras.optimizers.Adam with `clip`: the norm of `clip_twice`, or 0."""

    def __init__(self, *args, clip=0.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.clip = clip


def optimizer(train: TrainConfig, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """The optimizer of a TrainConfig. Raises ValueError for an unknown name."""
    rate = learning_rate(train, steps_per_epoch)
    if assignable_rate(train):
        rate = rate.settings['peak']
    if train.optimizer == 'sgd':
        return SGD(rate, momentum=train.momentum, clip=train.clip_gradients_norm)
    if train.optimizer == 'adam':
        return Adam(rate, beta_1=train.momentum, clip=train.clip_gradients_norm)
    raise ValueError(f'optimizer {train.optimizer!r}: expected sgd or adam')


def last_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """Learning rate of the last step of a Keras optimizer, a float."""
    schedule = rate_or_schedule(optimizer)
    if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return float(tf.convert_to_tensor(schedule))
    steps = int(tf.convert_to_tensor(unscaled_optimizer(optimizer).iterations))
    return float(schedule(max(0, steps - 1)))
