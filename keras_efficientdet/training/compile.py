"""`compile_for_training`: the official losses, optimizer and averages on a Keras model."""

from keras_efficientdet.keras_compat import build_once
from keras_efficientdet.network.detection_model import check_steps_per_execution
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.training.accumulation import Accumulation
from keras_efficientdet.training.freezing import freeze_anew
from keras_efficientdet.training.optimizers import optimizer
from keras_efficientdet.training.recompute import RecomputedLoss, recomputing
from keras_efficientdet.training.state import TrainingState


def compile_for_training(model, config=None, steps_per_epoch=1000):
    """Compiles a model with the official losses, optimizer, learning rates, clipping and weight averages.

    After it plain `model.fit(dataset(..., training=True))` trains as the official code does. The averages are beside the weights,
    in `model.training_state`; with the callback KeepAverages `fit` leaves them in the model.

    Args:
      model: the result of `efficientdet` (L2 regularisation is in its layers already).
      config: default: the one that the model carries.
      steps_per_epoch: optimizer steps; the schedule is made of it.
    """
    config = config or model.detection_config
    said = freeze_anew(model, config.train.freeze)
    if said:
        print(said)
    losses, weights = head_of(config).losses(config)
    if config.train.recompute:
        losses = {name: RecomputedLoss(loss) for name, loss in losses.items()}
    strategy = model.distribute_strategy
    with strategy.scope():
        check_steps_per_execution(config.train.steps_per_execution)
        model.compile(
            optimizer=optimizer(config.train, steps_per_epoch),
            loss=losses,
            loss_weights=weights,
            weighted_metrics=[],
            jit_compile=config.train.jit_compile,
            steps_per_execution=config.train.steps_per_execution,
        )
        if strategy.num_replicas_in_sync > 1:
            model.count_positives = head_of(config).positives
            build_once(
                model.optimizer, model.trainable_variables
            )  # in the first step it is too late on Keras 3
        model.training_forward = recomputing(model) if config.train.recompute else None
        model.accumulation = (
            Accumulation(model, losses, weights, config.train)
            if config.train.accumulation_steps != 1
            else None
        )
    model.training_state = TrainingState(
        model, config.train.moving_average_decay, config.train.batch_norm_ramp
    )
