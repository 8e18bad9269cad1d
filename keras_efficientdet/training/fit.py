"""`compile_for_training` and `fit`: official training inside Keras' own loop."""

import pathlib

import keras
import tensorflow as tf
import yaml

from keras_efficientdet import doctor
from keras_efficientdet.config import load_config
from keras_efficientdet.data.cache import records_of
from keras_efficientdet.data.pipeline import (
    dataset,
    steps_in_epoch,
    training_stream,
    validation_dataset,
)
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.evaluation.report import write_report
from keras_efficientdet.files import remove_unfinished, replaced_file
from keras_efficientdet.network.efficientdet import efficientdet
from keras_efficientdet.network.trained import load_trained
from keras_efficientdet.ops.nms import METHODS
from keras_efficientdet.training.callbacks import (
    CocoEvaluation,
    CsvLog,
    KeepAverages,
    RateLog,
    SwapAverages,
    TensorBoardLog,
    check_callbacks,
    save_weights,
)
from keras_efficientdet.training.compile import compile_for_training
from keras_efficientdet.training.full_disk import full_disk_named
from keras_efficientdet.training.interrupts import interruptible
from keras_efficientdet.training.nonfinite import StopOnNonFinite
from keras_efficientdet.training.resume import Checkpoint, restore
from keras_efficientdet.training.strategies import (
    ChiefEvaluation,
    distributed,
    is_chief,
    own_folder,
)
from keras_efficientdet.training.validation_pictures import ValidationPictures

_LAST = 'last.weights.h5'


def fit(
    config, train, valid, workdir, *, weights=None, callbacks=(), evaluate_every=1, strategy=None
):
    """Builds a detector, trains it, and leaves all that belongs to it in a folder.

    Prints what the doctor finds in data and settings before the first step (see `doctor.examine`). A workdir with the
    checkpoint of an earlier, interrupted call is continued, to the same weights as without the interruption (the state of
    `callbacks` is not kept); one that is finished is only read. SIGINT and SIGTERM stop after the running step with SystemExit
    130 or 143.

    Args:
      config: Config; `train.num_epochs`, `train.batch_size` and so on say how.
      train, valid: what `cache.records_of` takes: TFRecords, folders of any known format, folder/split, or Sources.
      workdir: for best.weights.h5 (averaged weights of the best val_AP), last.weights.h5 (averaged, end of training),
        config.yaml, log.csv, checkpoint/, TensorBoard's logs (val_AP is `epoch_AP` of its run `validation`, pictures with
        detections are the run `pictures`) and report/report.html, about the best weights.
      weights: what `efficientdet` takes; 'imagenet' for a pretrained backbone. Where they know other classes, as COCO's, the
        class prediction starts fresh and all else is taken over.
      callbacks: more Keras callbacks; at the end of an epoch they see `val_AP` and `learning_rate` in their logs and the
        averaged weights. ReduceLROnPlateau and LearningRateScheduler need lr_decay_method=constant and
        lr_warmup_epoch=0.
      evaluate_every: epochs between evaluations; the last epoch is always evaluated.
      strategy: what `strategy_for` returns; default one device. The network is built in its scope; `train.batch_size` counts
        the images of all replicas. Over several workers only the chief writes to workdir, and all must be able to read it.
    Returns:
      keras.callbacks.History of all epochs; its `model` holds the averaged weights.
    Raises:
      ConfigError: the workdir holds a training with other settings, or one without a checkpoint that can be read. OSError: the
        disk is full; what was written before is whole. NonFiniteLossError: the loss became infinite or no number.
    """
    check_callbacks(callbacks, config.train)
    if config.detect.method not in METHODS:
        raise ConfigError(
            f'method {config.detect.method!r}: evaluation while training knows {" and ".join(METHODS)}; numpy_nms, '
            'for tools/evaluate.py, knows the others'
        )
    given, train, valid = (valid, train), records_of(train), records_of(valid)
    keras.utils.set_random_seed(config.train.seed)
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        model = efficientdet(config, weights, on_class_mismatch='reinit')
    config = model.detection_config  # released weights bring their own scaling of the input
    shared, workdir, steps = (
        pathlib.Path(workdir),
        own_folder(workdir, strategy),
        steps_in_epoch(train, config),
    )
    compile_for_training(model, config, steps)
    done = restore(model, shared / 'checkpoint', steps)
    log = CsvLog(workdir / 'log.csv', done.rows)
    if done.epoch and (shared / _LAST).exists():
        print(f'{shared}: this training is finished')
        model.load_weights(str(shared / _LAST))
        if (
            is_chief(strategy) and not (workdir / 'report' / 'report.html').exists()
        ):  # interrupted while it was written
            _write_report(workdir, model, done.best, train, valid, given)
        return _history(model, log)
    if (shared / _LAST).exists():
        raise ConfigError(
            f'{shared / _LAST} is of a training that has ended, and {shared / "checkpoint"} has no checkpoint of '
            'it: look at it with tools/evaluate.py, or choose another workdir to train anew'
        )
    workdir.mkdir(parents=True, exist_ok=True)
    remove_unfinished(workdir, workdir / 'checkpoint')
    with replaced_file(workdir / 'config.yaml') as working:
        working.write_text(yaml.safe_dump(config.to_dict(), sort_keys=False))
    doctor.before_training(train, valid, config, weights)
    evaluation = _evaluation(config, valid, workdir, evaluate_every, done.best)
    batches, validation = (
        distributed(train, config, strategy, done.epoch),
        validation_dataset(valid, config),
    )
    shown = [evaluation, RateLog(), log, TensorBoardLog(str(workdir / 'logs'))]
    if strategy.num_replicas_in_sync > 1:
        shown[0], validation = ChiefEvaluation(_copy(config, steps), evaluation, validation), None
    else:
        shown.append(ValidationPictures(evaluation, workdir / 'logs'))
    own = [SwapAverages(), *callbacks, SwapAverages()] if callbacks else []
    guard = StopOnNonFinite(workdir, lambda epoch: training_stream(train, config, epoch))
    with full_disk_named(workdir):
        with interruptible(workdir) as stop:
            model.fit(
                batches,
                initial_epoch=done.epoch,
                epochs=config.train.num_epochs,
                steps_per_epoch=steps,
                validation_data=validation,
                validation_freq=evaluation.epochs,
                callbacks=[
                    guard,
                    *shown,
                    KeepAverages(),
                    *own,
                    Checkpoint(workdir / 'checkpoint', evaluation, log, steps),
                    stop,
                ],
            )
        save_weights(model, workdir / _LAST)
        if is_chief(strategy):
            _write_report(workdir, model, evaluation.best, train, valid, given)
    return _history(model, log)


def _write_report(workdir, model, best, train, valid, names):
    """About the best weights, or those of `model` where no evaluation found anything."""
    shown = load_trained(workdir) if best >= 0 else model
    write_report(
        shown, valid, workdir / 'report', log_file=workdir / 'log.csv', train=train, names=names
    )


def _evaluation(config, valid, workdir, every, best):
    epochs = range(1, config.train.num_epochs + 1)
    evaluated = [e for e in epochs if e % every == 0 or e == config.train.num_epochs]
    evaluation = CocoEvaluation(
        dataset(valid, config, training=False), config, evaluated, workdir / 'best.weights.h5'
    )
    evaluation.best = best
    return evaluation


def _copy(config, steps):
    """A network on one device, to be evaluated with weights that are averages already."""
    model = efficientdet(config)
    compile_for_training(model, load_config(config, {'moving_average_decay': 0.0}), steps)
    return model


def _history(model, log):
    history = keras.callbacks.History()
    history.set_model(model)
    history.history, history.epoch = log.history(), [row['epoch'] - 1 for row in log.rows]
    return history
