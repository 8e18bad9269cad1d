"""A Keras model whose steps give the same numbers on one device and on many."""
import keras
import tensorflow as tf

from keras_efficientdet.config.values import ConfigError

KERAS_3 = hasattr(keras, 'ops')


def replica_count():
    """Over how many replicas the current strategy spreads a step."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def sum_over_replicas(values):
    """Inside a step: tensors -> their sums over all replicas of all workers, one exchange for a list."""
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)


def check_steps_per_execution(steps):
    """Raises ConfigError for several steps in one execution over several replicas on Keras 3, which cannot trace them."""
    if KERAS_3 and steps != 1 and replica_count() > 1:
        raise ConfigError(f'steps_per_execution={steps} with several replicas fails on Keras 3; leave it at 1, or train on one '
                          'device')


class ReplicatedModel(keras.Model):
    """What plain Keras does not do where a batch is spread over replicas.

    `count_positives` (set by `compile_for_training`): targets of some images -> their positives. With it, sample weights are
    1 / (1 + positives of the whole batch) whatever part of the batch the pipeline of this replica saw.
    `accumulation`(data), set there too, takes the place of Keras' own step.
    """
    count_positives = None
    accumulation = None

    def train_step(self, data):
        step = self.accumulation or super().train_step
        return _averageable(step(self._weighted(data)))

    def test_step(self, data):
        return _averageable(super().test_step(self._weighted(data)))

    def _weighted(self, data):
        if self.count_positives is None or replica_count() == 1:
            return data
        images, targets, weights = data
        weight = 1. / (1. + sum_over_replicas(self.count_positives(targets)))
        return images, targets, {name: tf.fill(tf.shape(w), weight) for name, w in weights.items()}

    def _maybe_symbolic_build(self, *args, **kwargs):
        """Keras 3 averages the first batch over replicas for it, which fails over workers (keras#20585); nothing here waits
        to be built."""
        if self.distribute_strategy.num_replicas_in_sync == 1:
            super()._maybe_symbolic_build(*args, **kwargs)


def _averageable(logs):
    """Over workers Keras 3 averages the logs along an axis that scalars lack (keras#20585), and Keras 2 adds up those of the
    replicas though they are equal already."""
    if not isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
        return logs
    return {name: value[None] if KERAS_3 else value / replica_count() for name, value in logs.items()}
