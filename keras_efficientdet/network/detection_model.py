"""The Keras model class of every detector: its Config, and what happens around a training step."""

import keras
import tensorflow as tf

from keras_efficientdet.config import Config, load_config
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.keras_compat import KERAS_3
from keras_efficientdet.network.layers import random_step
from keras_efficientdet.network.replicas import replica_count, sum_over_replicas

_register = keras.saving.register_keras_serializable('keras_efficientdet')


def check_steps_per_execution(steps):
    """Raises ConfigError for several steps in one execution over several replicas on Keras 3, which cannot trace them."""
    if KERAS_3 and steps != 1 and replica_count() > 1:
        raise ConfigError(
            f'steps_per_execution={steps} with several replicas fails on Keras 3; leave it at 1, or train on one '
            'device'
        )


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
        weight = 1.0 / (1.0 + sum_over_replicas(self.count_positives(targets)))
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
    return {
        name: value[None] if KERAS_3 else value / replica_count() for name, value in logs.items()
    }


@_register
class DetectionModel(ReplicatedModel):
    """A functional model that knows its Config, and that lets a training state act around each Keras step.

    `detection_config` is saved with the model, so class names and preprocessing travel with `.keras` files.
    `compile_for_training` sets the rest: `training_state` has `before_step()` and `after_step(before)`, run inside the graph;
    `training_forward`(images) takes the place of the forward pass while training, `accumulation`(data) that of Keras' step.
    """

    detection_config = None
    frozen = frozenset()  # names of the layers that `compile_for_training` froze
    training_state = None
    training_forward = None

    @property
    def losses(self):
        """Regularisation of layers that train; Keras 2 would go on counting that of frozen ones."""
        return [loss for layer in self.layers if layer.trainable for loss in layer.losses]

    def call(self, inputs, training=None, mask=None):
        if training and self.training_forward is not None:
            return self.training_forward(inputs)
        return super().call(inputs, training=training, mask=mask)

    def train_step(self, *args, **kwargs):
        seed = self.detection_config.train.seed if self.detection_config else 0
        optimizer = getattr(self.optimizer, 'inner_optimizer', self.optimizer)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        with random_step(seed, optimizer.iterations, replica):
            if self.training_state is None:
                return super().train_step(*args, **kwargs)
            before = self.training_state.before_step()
            logs = super().train_step(*args, **kwargs)
            self.training_state.after_step(before)
            return logs

    def get_config(self):
        return {**super().get_config(), 'detection_config': self.detection_config.to_dict()}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        detection_config = config.pop('detection_config')
        model = super().from_config(config, custom_objects)
        model.detection_config = load_config(Config(), detection_config)
        return model
