"""`fit`: a whole training, from data to report, around Keras' own `fit`.

Its folder holds
- best.weights.h5: the averaged weights of the best val_AP; last.weights.h5: those at the end
- config.yaml, log.csv with a row for each epoch, and checkpoint/ with the state of the last epochs
- logs/ for TensorBoard: val_AP is `epoch_AP` of the run `validation`, and the run `pictures` shows
  validation images with their detections
- report/report.html, which describes the best weights

Over several workers only the chief writes there, and all must be able to read it. The callbacks
ReduceLROnPlateau and LearningRateScheduler need lr_decay_method=constant and lr_warmup_epoch=0.
"""

import contextlib
import logging
import os
import pathlib
import typing

import keras
import tensorflow as tf
import yaml

from keras_efficientdet import doctor
from keras_efficientdet.config import Config, load_config
from keras_efficientdet.data.cache import records_of
from keras_efficientdet.data.pipeline import (
    dataset,
    steps_in_epoch,
    training_stream,
    validation_dataset,
)
from keras_efficientdet.data.records import Records, open_records
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.evaluation.report import write_report
from keras_efficientdet.files import locked, remove_unfinished, replaced_file
from keras_efficientdet.network.efficientdet import efficientdet
from keras_efficientdet.network.heads import has_masks
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
from keras_efficientdet.training.resume import Checkpoint, Progress, restore
from keras_efficientdet.training.strategies import (
    ChiefEvaluation,
    distributed,
    is_chief,
    own_folder,
)
from keras_efficientdet.training.validation_pictures import ValidationPictures

_log = logging.getLogger(__name__)
_LAST = 'last.weights.h5'


def fit(
    config: Config,
    train: typing.Any,
    valid: typing.Any,
    workdir: str | os.PathLike,
    *,
    weights: typing.Any = None,
    callbacks: typing.Sequence[keras.callbacks.Callback] = (),
    evaluate_every: int = 1,
    strategy: tf.distribute.Strategy | None = None,
) -> keras.callbacks.History:
    """Builds a detector, trains it, and leaves everything that belongs to it in a folder.

    Before the first step the doctor examines data and settings. A workdir with a checkpoint of an
    interrupted call is continued and ends at the same weights as without the interruption; one of
    a finished training is only read. SIGINT and SIGTERM stop after the running step.

    Args:
      config: `train.num_epochs`, `train.batch_size` (of all replicas), ... describe the training.
      train, valid: what `dataset` takes: TFRecords, folders of any known format, or Sources.
      workdir: folder for the files that the head of this module lists.
      weights: what `efficientdet` takes. If they were trained on other classes, such as those of
        COCO, the class prediction is initialised anew and all else is taken over.
      callbacks: see `val_AP` and `learning_rate` in their logs at the end of an epoch, and the
        averaged weights in the model; their own state is not part of checkpoints.
      evaluate_every: epochs between evaluations; the last epoch is always evaluated.
      strategy: what `strategy_for` returns; default: one device.
    Returns:
      History of all epochs, also of earlier calls; its `model` has the averaged weights.
    Raises:
      ConfigError: workdir holds a training with other settings, or no readable checkpoint of it.
      DataError: there is nothing to learn from the data. OSError: the disk is full; files that were
      written before are whole. NonFiniteLossError: the loss became infinite or NaN.
      BlockingIOError: another process trains in workdir.
    """
    _check_settings(config, callbacks)
    masks = has_masks(config)
    mine, held_out = (open_records(records_of(data, masks=masks)) for data in (train, valid))
    data = _Data(mine, held_out, names=(valid, train))
    strategy = strategy or tf.distribute.get_strategy()
    model = _compiled(config, weights, data, strategy)
    shared, own = pathlib.Path(workdir), own_folder(workdir, strategy)
    if (shared / _LAST).exists():
        return _finished(_restored(model, data, own, shared), shared)
    # Before the folder is made, so that data which are refused leave no trace.
    doctor.before_training(data.train, data.valid, model.detection_config, weights)
    own.mkdir(parents=True, exist_ok=True)
    with _alone_in(own):
        return _train(_begun(_restored(model, data, own, shared)), callbacks, evaluate_every)


@contextlib.contextmanager
def _alone_in(workdir):
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(workdir / '.lock'))
        except BlockingIOError as error:
            raise BlockingIOError(
                f'{workdir}: another training runs in this folder ({error}); wait for it, stop it, '
                'or choose another workdir'
            ) from error
        yield


class _Data(typing.NamedTuple):
    """The records of both splits, and (valid, train) as the user gave them, for the report."""

    train: Records
    valid: Records
    names: tuple


class _Run(typing.NamedTuple):
    """What the stages of a training hand on. done: the Progress of earlier calls.

    workdir: where this process writes; workers that are not the chief have a folder of their own.
    """

    model: keras.Model
    data: _Data
    workdir: pathlib.Path
    done: Progress
    log: CsvLog

    @property
    def config(self):
        """That of the model: released weights bring their own scaling of the input."""
        return self.model.detection_config

    @property
    def strategy(self):
        return self.model.distribute_strategy


def _check_settings(config, callbacks):
    check_callbacks(callbacks, config.train)
    if config.detect.method not in METHODS:
        raise ConfigError(
            f'method {config.detect.method!r}: evaluation while training supports only '
            f'{" and ".join(METHODS)}; other methods need numpy_nms, after the training'
        )


def _compiled(config, weights, data, strategy):
    """The network in the scope of the strategy, compiled."""
    keras.utils.set_random_seed(config.train.seed)
    with strategy.scope():
        model = efficientdet(config, weights, on_class_mismatch='reinit')
    config = model.detection_config
    compile_for_training(model, config, steps_in_epoch(data.train, config))
    return model


def _restored(model, data, own, shared):
    """The _Run that goes on where an earlier call on `shared` stopped."""
    done = restore(model, shared / 'checkpoint', model.plan.steps_per_epoch)
    return _Run(model, data, own, done, CsvLog(own / 'log.csv', done.rows))


def _finished(run, shared):
    """The History of a training that has ended; `shared` is the chief's workdir.

    Raises ConfigError where no checkpoint tells with which settings it was.
    """
    if not run.done.epoch:
        raise ConfigError(
            f'{shared / _LAST} belongs to a finished training, and {shared / "checkpoint"} holds '
            'no checkpoint of it: evaluate it as it is, or choose another workdir to train anew'
        )
    _log.info('%s: this training is finished', shared)
    run.model.load_weights(str(shared / _LAST))
    if is_chief(run.strategy) and not (run.workdir / 'report' / 'report.html').exists():
        _write_report(run, run.done.best)  # the earlier call was interrupted while it wrote it
    return _history(run)


def _begun(run):
    """Clears away what an interrupted call left half written, and notes the configuration."""
    remove_unfinished(run.workdir, run.workdir / 'checkpoint')
    with replaced_file(run.workdir / 'config.yaml') as working:
        working.write_text(yaml.safe_dump(run.config.to_dict(), sort_keys=False), encoding='utf-8')
    return run


def _train(run, callbacks, evaluate_every):
    """Keras' `fit`, and the files that follow it."""
    evaluation = _evaluation(run, evaluate_every)
    validation = validation_dataset(run.data.valid, run.config)
    watching = _callbacks(run, evaluation, validation, callbacks)
    if run.strategy.num_replicas_in_sync > 1:
        validation = None  # ChiefEvaluation computes val_loss
    with full_disk_named(run.workdir):
        with interruptible(run.workdir) as stop:
            run.model.fit(
                distributed(run.data.train, run.config, run.strategy, run.done.epoch),
                initial_epoch=run.done.epoch,
                epochs=run.config.train.num_epochs,
                steps_per_epoch=run.model.plan.steps_per_epoch,
                validation_data=validation,
                validation_freq=evaluation.epochs,
                # The last one, so that a signal at the end of an epoch waits for its checkpoint.
                callbacks=[*watching, stop],
            )
        save_weights(run.model, run.workdir / _LAST)
        if is_chief(run.strategy):
            _write_report(run, evaluation.best)
    return _history(run)


def _evaluation(run, every):
    last = run.config.train.num_epochs
    epochs = [e for e in range(1, last + 1) if e % every == 0 or e == last]
    plain = dataset(run.data.valid, run.config, training=False)
    evaluation = CocoEvaluation(plain, run.config, epochs, run.workdir / 'best.weights.h5')
    evaluation.best = run.done.best
    return evaluation


def _callbacks(run, evaluation, validation, of_user):
    """The callbacks in the order in which they must act at the end of an epoch."""
    logs = run.workdir / 'logs'
    evaluating, images = evaluation, [ValidationPictures(evaluation, logs)]
    if run.strategy.num_replicas_in_sync > 1:
        evaluating, images = ChiefEvaluation(_copy(run), evaluation, validation), []
    watching = [
        # Before all that writes: a step whose loss is not finite must leave no file behind.
        StopOnNonFinite(run.workdir, lambda e: training_stream(run.data.train, run.config, e)),
        # These two put val_AP and learning_rate into the logs, which the next ones write down.
        evaluating,
        RateLog(),
        run.log,
        TensorBoardLog(str(logs)),
        *images,
        KeepAverages(),
    ]
    if of_user:
        # They see complete logs, and the averaged weights, which are those that were evaluated.
        watching += [SwapAverages(), *of_user, SwapAverages()]
    # A checkpoint says that its epoch is done, so everything else of the epoch is written by then.
    steps = run.model.plan.steps_per_epoch
    watching.append(Checkpoint(run.workdir / 'checkpoint', evaluation, run.log, steps))
    return watching


def _copy(run):
    """A network on one device, to be evaluated with weights that are averages already."""
    copy = efficientdet(run.config)
    without_averages = load_config(run.config, {'moving_average_decay': 0.0})
    compile_for_training(copy, without_averages, run.model.plan.steps_per_epoch)
    return copy


def _write_report(run, best):
    """About the best weights, or those of the model where no evaluation found anything."""
    write_report(
        load_trained(run.workdir) if best >= 0 else run.model,
        run.data.valid,
        run.workdir / 'report',
        log_file=run.workdir / 'log.csv',
        train=run.data.train,
        names=run.data.names,
    )


def _history(run):
    """Of all epochs, those of earlier calls as well."""
    history = keras.callbacks.History()
    history.set_model(run.model)
    history.history = run.log.history()
    history.epoch = [row['epoch'] - 1 for row in run.log.rows]
    return history
