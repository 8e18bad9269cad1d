"""Checkpoints of a whole training: what `fit` needs to continue as if it had never stopped."""

import dataclasses
import json
import logging
import os
import pathlib
import zipfile

import keras
import numpy as np
import tensorflow as tf

from keras_efficientdet.config import Config, load_config
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.files import replaced_file
from keras_efficientdet.keras_compat import build_once, loss_scale_variables
from keras_efficientdet.training.schedules import assignable_rate

_log = logging.getLogger(__name__)
KEPT = 2  # the last one may be unreadable after a crash of the machine
# Sections and keys on which neither the schedule nor the weights depend.
_FREE = {'detect', 'expected', 'data.data_service'}


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a training is: finished epochs, best val_AP so far, the rows of log.csv."""

    epoch: int = 0
    best: float = -1.0
    rows: tuple = ()


class Checkpoint(keras.callbacks.Callback):
    """Writes epoch-0001.npz, ... after each epoch, whole or not at all, and keeps the last two.

    A file holds the weights with batch-norm statistics, their averages, the optimizer with its step
    count and loss scale, and, as json, the Progress, the Config and the steps of an epoch.
    Order and augmentation of the data follow from seed and epoch, so they need no state.

    Args:
      folder: where to write.
      evaluation, log: CocoEvaluation and CsvLog of the training, which act before this callback.
      steps_per_epoch: optimizer steps.
    """

    def __init__(self, folder, evaluation, log, steps_per_epoch):
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.evaluation = evaluation
        self.log = log
        self.steps = steps_per_epoch

    def on_epoch_end(self, epoch, logs=None):
        state = {
            'epoch': epoch + 1,
            'best': self.evaluation.best,
            'rows': [_plain(row) for row in self.log.rows],
            'steps_per_epoch': self.steps,
            'config': self.model.detection_config.to_dict(),
        }
        path = self.folder / f'epoch-{epoch + 1:04d}.npz'
        with replaced_file(path) as working, open(working, 'wb') as file:
            np.savez(file, state=json.dumps(state), **_arrays(self.model))
            # On the disk before it is renamed, or a power cut may leave an empty file.
            file.flush()
            os.fsync(file.fileno())
        for old in checkpoints_in(self.folder)[:-KEPT]:
            old.unlink()


def restore(model: keras.Model, folder: str | os.PathLike, steps_per_epoch: int) -> Progress:
    """Brings a compiled model to the newest readable checkpoint of a folder.

    Returns:
      The Progress of that checkpoint; an empty one where the folder has none.
    Raises:
      ConfigError: the checkpoint belongs to a training with another Config or other data (the
        message names the keys), or none of the checkpoints can be read.
    """
    files = checkpoints_in(folder)
    for path in reversed(files):
        try:
            with open(path, 'rb') as file:
                arrays = dict(np.load(file))
        except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
            _log.warning('%s: not readable (%s), skipped', path, error)
            continue
        state = json.loads(str(arrays.pop('state')))
        _check(path, state, model.detection_config.to_dict(), steps_per_epoch)
        _assign(model, arrays, path)
        epochs = model.detection_config.train.num_epochs
        _log.info('%s: continues after epoch %d of %d', path, state['epoch'], epochs)
        return Progress(state['epoch'], state['best'], tuple(state['rows']))
    if files:
        raise ConfigError(
            f'{folder}: none of {len(files)} checkpoints can be read; restore them from a backup, '
            'or choose another workdir to train anew'
        )
    return Progress()


def checkpoints_in(folder: str | os.PathLike) -> list[pathlib.Path]:
    """Files of checkpoints, the oldest first."""
    return sorted(pathlib.Path(folder).glob('epoch-*.npz'))


def _variables(model):
    """{name in the file: variable} of all that changes in a step."""
    optimizer = model.optimizer
    build_once(optimizer, model.trainable_variables)
    own = [*optimizer.variables, *loss_scale_variables(optimizer)]
    rate_known = any(variable is optimizer.learning_rate for variable in own)
    if assignable_rate(model.detection_config.train) and not rate_known:
        own.append(optimizer.learning_rate)
    groups = {'weights': model.weights, 'averages': model.plan.state.averages, 'optimizer': own}
    named = {}
    for group, variables in groups.items():
        named |= {f'{group}.{i}': variable for i, variable in enumerate(variables)}
    return named


def _arrays(model):
    return {name: tf.convert_to_tensor(v).numpy() for name, v in _variables(model).items()}


def _assign(model, arrays, path):
    variables = _variables(model)
    found = {name: array.shape for name, array in arrays.items()}
    if found != {name: tuple(variable.shape) for name, variable in variables.items()}:
        raise ConfigError(
            f'{path}: its variables are not those of this model; it may come from another version '
            'of keras_efficientdet or of Keras. Choose another workdir'
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _check(path, state, config, steps_per_epoch):
    """Raises ConfigError where the checkpoint is of another training."""
    # Read as any configuration is: a checkpoint of an older version may lack keys that now have
    # defaults, and keeps the label map in an older form.
    saved = load_config(Config(), state['config']).to_dict()
    found = []
    for section, values in config.items():
        for key, value in values.items():
            earlier = saved[section][key]
            free = section in _FREE or f'{section}.{key}' in _FREE
            if not free and earlier != value:
                found.append(f'{section}.{key} is {earlier!r} there and {value!r} now')
    if state['steps_per_epoch'] != steps_per_epoch:
        found.append(
            f'an epoch had {state["steps_per_epoch"]} steps there and has {steps_per_epoch} now '
            '(other training data?)'
        )
    if found:
        raise ConfigError(
            f'{path.parent.parent} holds a training with other settings: {"; ".join(found)}. The '
            'schedule and the weights depend on them: set them back to continue, or choose another '
            'workdir'
        )


def _plain(row):
    """A row of the log without the numpy types that json does not take."""
    return {name: v if isinstance(v, (int, str)) else float(v) for name, v in row.items()}
