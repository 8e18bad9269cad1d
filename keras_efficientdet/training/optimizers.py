"""SGD and Adam with the official double clipping."""

import keras
import tensorflow as tf

from keras_efficientdet.training.schedules import assignable_rate, learning_rate

_register = keras.saving.register_keras_serializable('keras_efficientdet')


def clip_twice(gradients, norm):
    """Each gradient to L2 norm `norm`, then all together to global norm `norm`, as officially. None stays None."""
    gradients = [g if g is None else tf.clip_by_norm(g, norm) for g in gradients]
    return tf.clip_by_global_norm(gradients, norm)[0]


class _ClipsTwice:
    """Optimizer mixin. Keras' own clipnorm and global_clipnorm exclude one another.

    Keras 2 clips gradients that are already summed over replicas, Keras 3 those of each replica; so here they are summed
    first on Keras 3 and shared out again, which gives the same on both.
    """

    def _clip_gradients(self, gradients):
        if not self.clip:
            return gradients
        replicas = tf.distribute.get_replica_context()
        count = tf.distribute.get_strategy().num_replicas_in_sync
        if count == 1 or replicas is None or not hasattr(keras, 'ops'):
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


def optimizer(train, steps_per_epoch):
    """The optimizer of a TrainConfig. Raises ValueError for an unknown name."""
    rate = learning_rate(train, steps_per_epoch)
    if assignable_rate(train):
        rate = rate.settings['peak']
    if train.optimizer == 'sgd':
        return SGD(rate, momentum=train.momentum, clip=train.clip_gradients_norm)
    if train.optimizer == 'adam':
        return Adam(rate, beta_1=train.momentum, clip=train.clip_gradients_norm)
    raise ValueError(f'optimizer {train.optimizer!r}: expected sgd or adam')


def last_rate(optimizer):
    """Learning rate of the last step of a Keras optimizer, a float.

    `optimizer.learning_rate` is that rate on Keras 2, but on Keras 3 that of the next step.
    """
    optimizer = getattr(optimizer, 'inner_optimizer', optimizer)  # of mixed precision
    schedule = optimizer._learning_rate  # public on neither Keras
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return float(schedule(max(0, int(tf.convert_to_tensor(optimizer.iterations)) - 1)))
    return float(tf.convert_to_tensor(optimizer.learning_rate))
