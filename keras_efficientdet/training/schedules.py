"""Learning rates over training steps."""

import math

import keras
import tensorflow as tf

from keras_efficientdet.config.schema import TrainConfig

_register = keras.saving.register_keras_serializable('keras_efficientdet')
REFERENCE_BATCH = 64  # learning rates are given for this batch size
DECAYS = ('cosine', 'stepwise', 'polynomial', 'constant')


@_register
class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then a decay. Steps are optimizer steps.

    Two oddities of the official schedule are kept: the cosine is not shifted by the warm-up, and
    `warmup_init` is not scaled with the batch, so that a small batch may start above its rate.
    Source: google/automl tf2/train_lib.learning_rate_schedule.

    Args:
      peak: rate after the warm-up, already scaled with the batch.
      warmup_init: rate of the first step.
      warmup_steps, total_steps: lengths of the warm-up and of the training.
      decay: 'cosine', 'stepwise' (x 0.1 and x 0.01 from `drops` on), 'polynomial' or 'constant'.
      drops: (first, second) step of 'stepwise'.
      power: of 'polynomial'.
    Raises:
      ValueError: unknown decay.
    """

    def __init__(
        self, peak, warmup_init, warmup_steps, total_steps, decay='cosine', drops=(0, 0), power=0.9
    ):
        if decay not in DECAYS:
            raise ValueError(f'lr_decay_method {decay!r}: expected one of {", ".join(DECAYS)}')
        self.settings = {
            'peak': peak,
            'warmup_init': warmup_init,
            'warmup_steps': warmup_steps,
            'total_steps': total_steps,
            'decay': decay,
            'drops': tuple(drops),
            'power': power,
        }

    def __call__(self, step):
        s = self.settings
        step = tf.cast(step, tf.float32)
        warm = s['warmup_init'] + step / max(1, s['warmup_steps']) * (s['peak'] - s['warmup_init'])
        return tf.where(step < s['warmup_steps'], warm, self._decayed(step))

    def _decayed(self, step):
        s = self.settings
        if s['decay'] == 'cosine':
            length = max(1.0, float(s['total_steps'] - s['warmup_steps']))
            return 0.5 * s['peak'] * (1.0 + tf.cos(math.pi * step / length))
        if s['decay'] == 'stepwise':
            first, second = s['drops']
            dropped = tf.where(step < second, s['peak'] * 0.1, s['peak'] * 0.01)
            return tf.where(step < first, s['peak'], dropped)
        if s['decay'] == 'polynomial':
            # Beyond the last step it would be a power of a negative number, NaN.
            left = tf.maximum(0.0, 1.0 - step / float(s['total_steps']))
            return s['peak'] * tf.pow(left, s['power'])
        return tf.fill(tf.shape(step), s['peak'])

    def get_config(self):
        return dict(self.settings)


def learning_rate(train: TrainConfig, steps_per_epoch: int) -> LearningRate:
    """The LearningRate of a TrainConfig: rates scaled by batch_size / 64, epochs in steps."""

    def steps(epochs):
        return int(epochs * steps_per_epoch)

    return LearningRate(
        train.learning_rate * train.batch_size / REFERENCE_BATCH,
        train.lr_warmup_init,
        steps(train.lr_warmup_epoch),
        steps(train.num_epochs),
        train.lr_decay_method,
        (steps(train.first_lr_drop_epoch), steps(train.second_lr_drop_epoch)),
        train.poly_lr_power,
    )


def assignable_rate(train: TrainConfig) -> bool:
    """Whether the rate is a number that callbacks may set (`optimizer.learning_rate = ...`)."""
    return train.lr_decay_method == 'constant' and not train.lr_warmup_epoch
