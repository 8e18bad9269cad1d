"""`compile_for_training`: the official losses, optimizer and averages on a Keras model."""

import logging

import keras

from keras_efficientdet.config import Config
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.keras_compat import build_once
from keras_efficientdet.network.detection_model import check_steps_per_execution
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.network.training_plan import TrainingPlan
from keras_efficientdet.training.accumulation import Accumulation
from keras_efficientdet.training.freezing import freeze_anew
from keras_efficientdet.training.optimizers import optimizer
from keras_efficientdet.training.recompute import RecomputedLoss, recomputing
from keras_efficientdet.training.state import TrainingState

_log = logging.getLogger(__name__)


# Registered, so that `DetectionModel` finds it by name when a compiled model is loaded.
@keras.saving.register_keras_serializable('keras_efficientdet')
def compile_for_training(
    model: keras.Model, config: Config | None = None, steps_per_epoch: int | None = None
) -> None:
    """Compiles a model with the official losses, optimizer, learning rates and weight averages.

    After it, Keras' own `model.fit(dataset(..., training=True))` trains as the official code does.
    The averages are kept beside the weights; with the callback KeepAverages they are the weights
    when `fit` ends. A model that is saved as a `.keras` file and loaded goes on as if it had stayed
    in memory.

    Args:
      model: the result of `efficientdet` (L2 regularisation is in its layers already).
      config: default: the one that the model carries.
      steps_per_epoch: optimizer steps of an epoch, `len(dataset(..., training=True))`. Warm-up and
        decay of the learning rate are counted in it, so it has no default.
    Raises:
      TypeError: steps_per_epoch is missing.
      ConfigError: steps_per_epoch is not positive, the batch cannot be split as the configuration
        wants, or a pattern of `freeze` is wrong.
    """
    if steps_per_epoch is None:
        raise TypeError(
            'compile_for_training needs steps_per_epoch, the optimizer steps of an epoch; '
            'the learning rate schedule is made of it: len(dataset(..., training=True))'
        )
    if steps_per_epoch < 1:
        raise ConfigError(f'steps_per_epoch must be a positive integer, found {steps_per_epoch!r}')
    config = config or model.detection_config
    train = config.train
    frozen_layers = freeze_anew(model, train.freeze)
    if frozen_layers:
        _log.info(frozen_layers)
    losses, weights = head_of(config).losses(config)
    if train.recompute:
        losses = {name: RecomputedLoss(loss) for name, loss in losses.items()}
    with model.distribute_strategy.scope():
        check_steps_per_execution(train.steps_per_execution)
        model.compile(
            optimizer=optimizer(train, steps_per_epoch),
            loss=losses,
            loss_weights=weights,
            weighted_metrics=[],
            jit_compile=train.jit_compile,
            steps_per_execution=train.steps_per_execution,
        )
        model.attach(_plan(model, config, steps_per_epoch, losses, weights))


def _plan(model, config, steps_per_epoch, losses, weights):
    """The TrainingPlan of a model that is compiled, in the scope of its strategy."""
    train, head = config.train, head_of(config)
    over_replicas = model.distribute_strategy.num_replicas_in_sync > 1
    if over_replicas:
        # Inside the first step, where Keras would do it, it is too late on Keras 3.
        build_once(model.optimizer, model.trainable_variables)
    accumulation = None
    if train.accumulation_steps != 1:
        accumulation = Accumulation(model, losses, weights, train)
    return TrainingPlan(
        config=config,
        steps_per_epoch=steps_per_epoch,
        optimizer=model.optimizer,
        state=TrainingState(
            model, train.moving_average_decay, train.batch_norm_ramp, train.accumulation_steps
        ),
        forward=recomputing(model) if train.recompute else None,
        accumulation=accumulation,
        count_positives=head.positives if over_replicas else None,
        weights=head.weights,
        frozen=model.plan.frozen,
    )
