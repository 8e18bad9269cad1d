"""The Keras model class of every detector: its Config, its TrainingPlan, its training step."""

import contextlib
import json
import logging

import keras
import tensorflow as tf

from keras_efficientdet import keras_compat
from keras_efficientdet.config import Config, load_config
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.network.layers import random_step
from keras_efficientdet.network.replicas import replica_count, sum_over_replicas
from keras_efficientdet.network.training_plan import TrainingPlan

_log = logging.getLogger(__name__)
_register = keras.saving.register_keras_serializable('keras_efficientdet')

WITHOUT_PLAN = (
    'this model has no training plan (weight averages, batch-norm ramp, accumulation, freezing); '
    'call compile_for_training(model, config, steps_per_epoch=...) before fit'
)


def check_steps_per_execution(steps: int) -> None:
    """Raises ConfigError for several steps in one execution over replicas if Keras cannot."""
    possible = steps == 1 or keras_compat.RUNS_SEVERAL_STEPS_OVER_REPLICAS
    if replica_count() > 1 and not possible:
        raise ConfigError(
            f'steps_per_execution={steps} with several replicas fails on Keras 3; leave it at 1, '
            'or train on one device'
        )


@contextlib.contextmanager
def computing_in(policy):
    """Sets Keras' dtype policy ('mixed_float16', ...) inside the block; None changes nothing."""
    outside = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy or outside)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(outside)


@contextlib.contextmanager
def channels_last():
    """Inside the block, layers have their channels last, whatever ~/.keras/keras.json says."""
    outside = keras.backend.image_data_format()
    keras.backend.set_image_data_format('channels_last')
    try:
        yield
    finally:
        keras.backend.set_image_data_format(outside)


@_register
class DetectionModel(keras.Model):
    """A functional model that carries its Config, and that trains as its TrainingPlan describes.

    Both are saved in `.keras` files: class names and preprocessing travel with the model, and a
    loaded model trains on as the saved one would have, with its averages.
    """

    detection_config: Config | None = None
    _plan = TrainingPlan()

    @property
    def plan(self):
        """The TrainingPlan of the latest `compile`.

        It adds nothing if that was Keras' own `compile`.
        """
        planned_for = self._plan.optimizer
        if planned_for is None or planned_for is getattr(self, 'optimizer', None):
            return self._plan
        return TrainingPlan(frozen=self._plan.frozen)

    def attach(self, plan):
        """Replaces the TrainingPlan; to be called after `compile`."""
        self._plan = plan

    @property
    def losses(self):
        """Regularisation of layers that are trained; Keras 2 would count frozen layers as well."""
        return [loss for layer in self.layers if layer.trainable for loss in layer.losses]

    def call(self, inputs, training=None, mask=None):
        if training and self.plan.forward is not None:
            return self.plan.forward(inputs)
        return super().call(inputs, training=training, mask=mask)

    def make_train_function(self, *args, **kwargs):
        """Refuses to train with the optimizer of a plan, but without the plan.

        That is a model from a file that holds none, because an earlier version wrote it, or in an
        older format than `.keras`. Keras calls this before the first step.
        """
        optimizer = keras_compat.unscaled_optimizer(self.optimizer)
        if getattr(optimizer, 'part_of_a_plan', False) and self.plan.state is None:
            raise ConfigError(WITHOUT_PLAN)
        return super().make_train_function(*args, **kwargs)

    def train_step(self, data):
        _refuse_labels(data)
        plan = self.plan
        step = plan.accumulation or super().train_step
        with self._random_step():
            before = plan.state.before_step() if plan.state else None
            logs = _over_workers(step(self._weighted(data)))
            if plan.state:
                plan.state.after_step(before)
            return logs

    def test_step(self, data):
        _refuse_labels(data)
        return _over_workers(super().test_step(self._weighted(data)))

    def _random_step(self):
        """Random numbers follow from seed, step and replica, so a resumed step repeats them."""
        seed = self.detection_config.train.seed if self.detection_config else 0
        steps = keras_compat.unscaled_optimizer(self.optimizer).iterations
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return random_step(seed, steps, replica)

    def _weighted(self, data):
        """The batch with sample weights that count the positives of all replicas."""
        plan = self.plan
        count_positives = plan.count_positives
        if count_positives is None or replica_count() == 1:
            return data
        images, targets, weights = data
        weight = plan.weights(sum_over_replicas(count_positives(targets)), targets)
        filled = {name: tf.fill(tf.shape(w), weight[name]) for name, w in weights.items()}
        return images, targets, filled

    def _maybe_symbolic_build(self, *args, **kwargs):
        """Skipped over replicas: here Keras 3 averages the first batch, which fails over workers.

        See keras#20585. A functional model is built already, and Keras 2 never calls this.
        """
        if self.distribute_strategy.num_replicas_in_sync == 1:
            super()._maybe_symbolic_build(*args, **kwargs)

    def get_config(self):
        return {
            **super().get_config(),
            'detection_config': self.detection_config.to_dict(),
            'computes_in': self.dtype_policy.name,
            'frozen': sorted(self.plan.frozen),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        detection_config = config.pop('detection_config')
        frozen = config.pop('frozen', ())
        # Layers have policies of their own; by the model's, `compile` scales the loss for float16.
        with computing_in(config.pop('computes_in', None)):
            model = super().from_config(config, custom_objects)
        model.detection_config = load_config(Config(), detection_config)
        model.attach(TrainingPlan(frozen=frozenset(frozen)))
        return model

    def get_compile_config(self):
        plan = self.plan
        if plan.config is None:
            return super().get_compile_config()
        config = json.dumps(plan.config.to_dict())
        return {'training_plan': {'config': config, 'steps_per_epoch': plan.steps_per_epoch}}

    def compile_from_config(self, config):
        """Compiles a model that Keras loads as the saved one was: plainly, or with its plan.

        If the plan is impossible here, as on another number of replicas, the model is not compiled.
        """
        if 'training_plan' not in config:
            super().compile_from_config(config)
            return
        saved = config['training_plan']
        # By its registered name, because this room lies below that of training.
        compile_again = keras.saving.get_registered_object(
            'keras_efficientdet>compile_for_training'
        )
        try:
            compile_again(
                self, load_config(Config(), json.loads(saved['config'])), saved['steps_per_epoch']
            )
        except ConfigError as error:
            _log.warning('The training of this model cannot go on here: %s', error)
            return
        # Keras loads the optimizer's state next, into variables that must exist.
        keras_compat.build_once(self.optimizer, self.trainable_variables)

    def save_assets(self, folder):
        """Writes the averages, which no layer has. Keras calls it for `.keras` files only."""
        if self.plan.state is not None:
            self.plan.state.save(folder)

    def load_assets(self, folder):
        """The counterpart of `save_assets`; does nothing with `load_model(compile=False)`."""
        if self.plan.state is not None and folder is not None:
            self.plan.state.load(folder)


def _refuse_labels(data):
    """Raises ValueError for batches of `dataset(..., training=False)`, which hold no targets."""
    labels = data[1] if isinstance(data, tuple) and len(data) > 1 else None
    if isinstance(labels, dict) and {'boxes', 'classes', 'scale'} <= set(labels):
        raise ValueError(
            'these batches hold boxes for `evaluate`, as dataset(..., training=False) makes them, '
            'and losses need targets. Give Keras validation_dataset(data, config) as validation '
            'data; for AP use keras_efficientdet.evaluate or the callback CocoEvaluation'
        )


def _over_workers(logs):
    if not isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
        return logs
    return keras_compat.logs_over_workers(logs, replica_count())
