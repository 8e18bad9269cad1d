"""Keras callbacks of a training: COCO figures and the learning rate in `logs`, a log file, averaged weights at the end."""

import contextlib
import csv
import math
import os
import pathlib

import keras

from keras_efficientdet.errors import ConfigError
from keras_efficientdet.evaluation.coco import STATISTICS, evaluate, metrics_text
from keras_efficientdet.files import replaced_file
from keras_efficientdet.keras_compat import KERAS_3
from keras_efficientdet.network.detector import detect_batch
from keras_efficientdet.training.optimizers import last_rate
from keras_efficientdet.training.schedules import assignable_rate

_ENTRY = 4096  # bytes of a variable in HDF5, beside its values


class CocoEvaluation(keras.callbacks.Callback):
    """Evaluates the averaged weights after some epochs: `val_AP`, `val_AP50`, ... stand in `logs` for the callbacks after it.

    Also swaps the averages in while Keras computes `val_loss`, and keeps the weights of the best val_AP in a file.

    Args:
      data: `dataset(..., training=False)`.
      epochs: which epochs, counted from 1 as Keras' validation_freq does; default: all.
      best_path: '.weights.h5' file for the best weights, or None.
    """

    def __init__(self, data, config, epochs=None, best_path=None):
        super().__init__()
        self.data, self.config, self.epochs, self.best_path = data, config, epochs, best_path
        self.best, self.detect = -1.0, None

    def on_test_begin(self, logs=None):
        self._swap()

    def on_test_end(self, logs=None):
        self._swap()

    def _swap(self):
        if self.model.training_state is not None:
            self.model.training_state.swap()

    @contextlib.contextmanager
    def averaged(self):
        """The model has the averaged weights inside."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def is_due(self, epoch):
        """Whether an epoch, counted from 0, is evaluated."""
        return self.epochs is None or epoch + 1 in self.epochs

    def on_epoch_end(self, epoch, logs=None):
        if not self.is_due(epoch):
            return
        self.detect = self.detect or detect_batch(self.model, self.config)
        with self.averaged():
            figures = evaluate(self.detect, self.data, self.config, progress=False)
            if self.best_path and figures['AP'] > self.best:
                self.best = figures['AP']
                save_weights(self.model, self.best_path)
        logs.update({f'val_{name}': figures[name] for name in STATISTICS[:6]})
        print(f'\nepoch {epoch + 1}, validation:\n{metrics_text(figures)}')


class TensorBoardLog(keras.callbacks.TensorBoard):
    """Keras' own, with each epoch on disk before a checkpoint says that it is done: a killed training has no holes."""

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        for writer in self._writers.values():
            writer.flush()


class RateLog(keras.callbacks.Callback):
    """`learning_rate` in `logs`: that of the last step of the epoch. TensorBoard's own callback shows that of the next step."""

    def on_epoch_end(self, epoch, logs=None):
        logs['learning_rate'] = last_rate(self.model.optimizer)


class CsvLog(keras.callbacks.Callback):
    """One row per epoch, an empty cell where an epoch has no such figure. Keras' own CSVLogger knows the columns of the first
    epoch only, and so never writes a val_AP that is computed now and then."""

    def __init__(self, path, rows=()):
        super().__init__()
        self.path, self.rows = pathlib.Path(path), list(rows)

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append({'epoch': epoch + 1, **logs})
        columns = dict.fromkeys(name for row in self.rows for name in row)
        with replaced_file(self.path) as working, open(working, 'w', newline='') as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)

    def history(self):
        """{name: values of the epochs that have one}, as in keras.callbacks.History."""
        names = dict.fromkeys(name for row in self.rows for name in row if name != 'epoch')
        return {name: [row[name] for row in self.rows if name in row] for name in names}


class KeepAverages(keras.callbacks.Callback):
    """Leaves the averaged weights in the model when training ends, as Keras' use_ema does; the next `fit` goes on with them."""

    def on_train_end(self, logs=None):
        self.model.training_state.keep()


class SwapAverages(keras.callbacks.Callback):
    """Swaps weights and averages at the end of an epoch. Between two of these other callbacks see the averaged weights, those
    that were evaluated: ModelCheckpoint saves them, EarlyStopping(restore_best_weights) restores them."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.training_state.swap()


def check_callbacks(callbacks, train):
    """Raises ConfigError where a callback that sets the rate meets a schedule, which would overwrite it (Keras 2: silently)."""
    setters = [
        c
        for c in callbacks
        if isinstance(c, keras.callbacks.ReduceLROnPlateau | keras.callbacks.LearningRateScheduler)
    ]
    if setters and not assignable_rate(train):
        raise ConfigError(
            f'{type(setters[0]).__name__} cannot change a schedule (lr_decay_method={train.lr_decay_method}, '
            f'lr_warmup_epoch={train.lr_warmup_epoch}); set lr_decay_method=constant and lr_warmup_epoch=0'
        )


def save_weights(model, path):
    """Keras' save_weights, but never half written. Raises OSError where there is no room, before HDF5 meets it, which would end
    the process: it crashes while it closes what it could not write."""
    saved = [*model.weights, *(model.optimizer.variables if KERAS_3 and model.optimizer else ())]
    with replaced_file(path) as working:
        with open(working, 'wb') as file:
            if hasattr(os, 'posix_fallocate'):
                os.posix_fallocate(
                    file.fileno(), 0, sum(4 * math.prod(v.shape) + _ENTRY for v in saved)
                )
        model.save_weights(str(working))
