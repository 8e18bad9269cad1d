"""`compile_for_training` and `fit`: official training inside Keras' own loop."""
import pathlib

import keras
import yaml

from keras_efficientdet import doctor
from keras_efficientdet.cache import records_of
from keras_efficientdet.config import load_config
from keras_efficientdet.data import dataset, steps_in_epoch, training_stream, validation_dataset
from keras_efficientdet.models import efficientdet, head_of
from keras_efficientdet.training import schedules
from keras_efficientdet.training.accumulation import Accumulation
from keras_efficientdet.training.callbacks import (
    CocoEvaluation,
    CsvLog,
    KeepAverages,
    SwapAverages,
    check_callbacks,
    save_weights,
)
from keras_efficientdet.training.freezing import freeze
from keras_efficientdet.training.interrupts import interruptible
from keras_efficientdet.training.nonfinite import StopOnNonFinite
from keras_efficientdet.training.recompute import recomputing
from keras_efficientdet.training.resume import Checkpoint, restore
from keras_efficientdet.training.state import TrainingState


def compile_for_training(model, config=None, steps_per_epoch=1000):
    """Compiles a model with the official losses, optimizer, learning rates, clipping and weight averages.

    After it plain `model.fit(dataset(..., training=True))` trains as the official code does.

    Args:
      model: the result of `efficientdet` (L2 regularisation is in its layers already).
      config: default: the one that the model carries.
      steps_per_epoch: optimizer steps; the schedule is made of it.
    """
    config = config or model.detection_config
    if config.train.freeze:
        print(freeze(model, config.train.freeze))
    losses, weights = head_of(config).losses(config)
    model.compile(optimizer=schedules.optimizer(config.train, steps_per_epoch), loss=losses, loss_weights=weights,
                  weighted_metrics=[], jit_compile=config.train.jit_compile,
                  steps_per_execution=config.train.steps_per_execution)
    model.training_forward = recomputing(model) if config.train.recompute else None
    model.accumulation = Accumulation(model, losses, weights, config.train) if config.train.accumulation_steps != 1 else None
    model.training_state = TrainingState(model, config.train.moving_average_decay, config.train.batch_norm_ramp)


def fit(config, train, valid, workdir, *, weights=None, callbacks=(), evaluate_every=1):
    """Builds a detector, trains it, and leaves all that belongs to it in a folder.

    Prints which anchors cover which class before the first step (see `doctor`). A workdir with the checkpoint of an earlier,
    interrupted call is continued, to the same weights as without the interruption (the state of `callbacks` is not kept);
    one that is finished is only read. SIGINT and SIGTERM stop after the running step with SystemExit 130 or 143.

    Args:
      config: Config; `train.num_epochs`, `train.batch_size` and so on say how.
      train, valid: what `cache.records_of` takes: TFRecords, folders of any known format, folder/split, or Sources.
      workdir: for best.weights.h5 (averaged weights of the best val_AP), last.weights.h5 (averaged, end of training),
        config.yaml, log.csv, checkpoint/ and TensorBoard's logs.
      weights: what `efficientdet` takes; 'imagenet' for a pretrained backbone.
      callbacks: more Keras callbacks; at the end of an epoch they see `val_AP` in their logs and the averaged weights.
        ReduceLROnPlateau needs lr_decay_method=constant and lr_warmup_epoch=0.
      evaluate_every: epochs between evaluations; the last epoch is always evaluated.
    Returns:
      keras.callbacks.History of all epochs; its `model` holds the averaged weights.
    Raises:
      ConfigError: the workdir holds a training with other settings. NonFiniteLossError: the loss became infinite or no number.
    """
    check_callbacks(callbacks, config.train)
    train, valid = records_of(train), records_of(valid)
    keras.utils.set_random_seed(config.train.seed)
    model = efficientdet(config, weights)
    config = model.detection_config                   # released weights bring their own scaling of the input
    workdir, epochs, steps = pathlib.Path(workdir), config.train.num_epochs, steps_in_epoch(train, config)
    compile_for_training(model, config, steps)
    done, last = restore(model, workdir / 'checkpoint', steps), workdir / 'last.weights.h5'
    evaluated = [e for e in range(1, epochs + 1) if e % evaluate_every == 0 or e == epochs]
    evaluation = CocoEvaluation(dataset(valid, config, training=False), config, evaluated, workdir / 'best.weights.h5')
    evaluation.best, log = done.best, CsvLog(workdir / 'log.csv', done.rows)
    if done.epoch and last.exists():
        print(f'{workdir}: this training is finished')
        model.load_weights(str(last))
        return _history(model, log)
    workdir.mkdir(parents=True, exist_ok=True)
    last.unlink(missing_ok=True)
    (workdir / 'config.yaml').write_text(yaml.safe_dump(config.to_dict(), sort_keys=False))
    print(doctor.advice(doctor.anchor_coverage(train, config)))
    guards = [StopOnNonFinite(workdir, lambda epoch: training_stream(train, config, epoch)), evaluation, log]
    with interruptible(workdir) as stop:
        model.fit(training_stream(train, config, done.epoch), initial_epoch=done.epoch, epochs=epochs, steps_per_epoch=steps,
                  validation_data=validation_dataset(valid, config), validation_freq=evaluated, callbacks=[
                      *guards, keras.callbacks.TensorBoard(str(workdir / 'logs')), KeepAverages(), SwapAverages(), *callbacks,
                      SwapAverages(), Checkpoint(workdir / 'checkpoint', evaluation, log, steps), stop])
    save_weights(model, last)
    return _history(model, log)


def _history(model, log):
    history = keras.callbacks.History()
    history.set_model(model)
    history.history, history.epoch = log.history(), [row['epoch'] - 1 for row in log.rows]
    return history


def load_trained(workdir, weights='best.weights.h5'):
    """The model that `fit` left in a folder, with its Config, in float32. Raises FileNotFoundError where there is none."""
    workdir = pathlib.Path(workdir)
    for name in ('config.yaml', weights):
        if not (workdir / name).is_file():
            raise FileNotFoundError(f'{workdir / name}: not there; {workdir} is no folder of a finished training')
    model = efficientdet(load_config(workdir / 'config.yaml', {'mixed_precision': None}))
    model.load_weights(str(workdir / weights))
    return model
