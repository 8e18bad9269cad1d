"""Keras callbacks of a training: metrics and learning rate in `logs`, log files, averages."""

import contextlib
import csv
import logging
import math
import os
import pathlib
import typing

import keras
import tensorflow as tf

from keras_efficientdet.config import Config
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.evaluation.coco import OTHERS, STATISTICS, evaluate, metrics_text
from keras_efficientdet.files import replaced_file
from keras_efficientdet.keras_compat import variables_in_weights_file
from keras_efficientdet.network.detection_model import WITHOUT_PLAN
from keras_efficientdet.network.detector import detect_batch
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.training.optimizers import last_rate
from keras_efficientdet.training.schedules import assignable_rate

_log = logging.getLogger(__name__)
_ENTRY = 4096  # bytes of a variable in HDF5 beside its values


class CocoEvaluation(keras.callbacks.Callback):
    """Evaluates the averaged weights after some epochs.

    The COCO metrics are added to `logs` as `val_AP`, `val_AP50`, ... for the callbacks after it. It
    also exchanges weights and averages while Keras computes `val_loss`, and keeps the weights of
    the best val_AP (or of the metric of another head) in a file.

    Args:
      data: `dataset(..., training=False)`.
      config: Config of the model.
      epochs: which epochs, counted from 1 as by Keras' validation_freq; default: all.
      best_path: '.weights.h5' file for the best weights, or None.
    """

    def __init__(
        self,
        data: tf.data.Dataset,
        config: Config,
        epochs: typing.Container[int] | None = None,
        best_path: str | os.PathLike | None = None,
    ):
        super().__init__()
        self.data = data
        self.config = config
        self.epochs = epochs
        self.best_path = best_path
        self.metric = head_of(config).metric
        self.best = -1.0
        self.detect = None  # made once, because it traces the network

    def on_test_begin(self, logs=None):
        self._swap()

    def on_test_end(self, logs=None):
        self._swap()

    def _swap(self):
        if self.model.plan.state is not None:
            self.model.plan.state.swap()

    @contextlib.contextmanager
    def averaged(self) -> typing.Iterator[None]:
        """Inside the block the model has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def is_due(self, epoch: int) -> bool:
        """Whether an epoch, counted from 0, is evaluated."""
        return self.epochs is None or epoch + 1 in self.epochs

    def on_epoch_end(self, epoch, logs=None):
        if not self.is_due(epoch):
            return
        self.detect = self.detect or detect_batch(self.model, self.config)
        with self.averaged():
            metrics = evaluate(self.detect, self.data, self.config, progress=False)
            if self.best_path and metrics[self.metric] > self.best:
                self.best = metrics[self.metric]
                save_weights(self.model, self.best_path)
        # The six of AP; those of AR follow in the report. Before them: of other heads.
        shown = [name for name in (*OTHERS, *STATISTICS[:6]) if name in metrics]
        logs.update({f'val_{name}': metrics[name] for name in shown})
        _log.info('\nepoch %d, validation:\n%s', epoch + 1, metrics_text(metrics))


class TensorBoardLog(keras.callbacks.TensorBoard):
    """Keras' own, with each epoch on disk before its checkpoint: logs of a killed training have no
    gaps."""

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        for writer in self._writers.values():
            writer.flush()


class RateLog(keras.callbacks.Callback):
    """Adds `learning_rate` to `logs`: that of the epoch's last step.

    Keras' TensorBoard callback alone shows that of the next step.
    """

    def on_epoch_end(self, epoch, logs=None):
        logs['learning_rate'] = last_rate(self.model.optimizer)


class CsvLog(keras.callbacks.Callback):
    """Writes one row per epoch, with an empty cell where an epoch lacks a metric.

    Keras' own CSVLogger takes its columns from the first epoch, and so never writes a val_AP that
    is computed in some epochs only.

    Args:
      path: of the csv file.
      rows: those of earlier epochs.
    """

    def __init__(self, path, rows=()):
        super().__init__()
        self.path = pathlib.Path(path)
        self.rows = list(rows)

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append({'epoch': epoch + 1, **logs})
        columns = dict.fromkeys(name for row in self.rows for name in row)
        with (
            replaced_file(self.path) as working,
            open(working, 'w', encoding='utf-8', newline='') as file,
        ):
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)

    def history(self):
        """{name: values of the epochs that have one}, as in keras.callbacks.History."""
        names = dict.fromkeys(name for row in self.rows for name in row if name != 'epoch')
        return {name: [row[name] for row in self.rows if name in row] for name in names}


class KeepAverages(keras.callbacks.Callback):
    """Leaves the averaged weights in the model when training ends, as Keras' use_ema does.

    The next `fit` goes on from them. Raises ConfigError before the first step if the model was not
    compiled by `compile_for_training`, and so has no averages.
    """

    def on_train_begin(self, logs=None):
        if self.model.plan.state is None:
            raise ConfigError(f'KeepAverages: {WITHOUT_PLAN}')

    def on_train_end(self, logs=None):
        self.model.plan.state.keep()


class SwapAverages(keras.callbacks.Callback):
    """Exchanges weights and averages at the end of an epoch.

    Callbacks between two of these see the averaged weights, which are those that were evaluated:
    ModelCheckpoint saves them, EarlyStopping(restore_best_weights=True) restores them.
    """

    def on_epoch_end(self, epoch, logs=None):
        self.model.plan.state.swap()


def check_callbacks(callbacks, train):
    """Raises ConfigError for a callback that sets the rate beside a schedule.

    Keras 2 would overwrite its rate with that of the schedule, without a warning.
    """
    setting = keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler
    setters = [callback for callback in callbacks if isinstance(callback, setting)]
    if setters and not assignable_rate(train):
        raise ConfigError(
            f'{type(setters[0]).__name__} cannot change a schedule '
            f'(lr_decay_method={train.lr_decay_method}, lr_warmup_epoch={train.lr_warmup_epoch}); '
            'set lr_decay_method=constant and lr_warmup_epoch=0'
        )


def save_weights(model, path):
    """Keras' save_weights, but the file is never half written.

    Raises OSError where there is no room. The room is reserved first, because HDF5 would end the
    process: it crashes while it closes a file that it could not write.
    """
    saved = variables_in_weights_file(model)
    size = sum(4 * math.prod(v.shape) + _ENTRY for v in saved)
    with replaced_file(path) as working:
        with open(working, 'wb') as file:
            if hasattr(os, 'posix_fallocate'):
                os.posix_fallocate(file.fileno(), 0, size)
        model.save_weights(str(working))
