"""Checkpoints of a whole training: what `fit` needs to go on as if it had never stopped."""

import dataclasses
import json
import os
import pathlib
import zipfile

import keras
import numpy as np
import tensorflow as tf

from keras_efficientdet.config import Config, load_config
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.files import replaced_file
from keras_efficientdet.keras_compat import build_once
from keras_efficientdet.training.schedules import assignable_rate

KEPT = 2
_FREE = {
    'detect',
    'expected',
    'data.data_service',
}  # sections and keys that neither schedule nor weights depend on


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a training is: epochs done, best val_AP so far, the rows of log.csv."""

    epoch: int = 0
    best: float = -1.0
    rows: tuple = ()


class Checkpoint(keras.callbacks.Callback):
    """After each epoch writes checkpoint/epoch-0001.npz, whole or not at all, and keeps the last two.

    In it: weights with batch-norm statistics, their averages, the optimizer with its step count and loss scale, and as json
    the Progress, the Config and the number of steps in an epoch. Order and augmentation of the data follow from seed and
    epoch, so they need no state.

    Args:
      folder: where to write.
      evaluation, log: CocoEvaluation and CsvLog of the training; they come before this one.
    """

    def __init__(self, folder, evaluation, log, steps_per_epoch):
        super().__init__()
        self.folder, self.evaluation, self.log, self.steps = (
            pathlib.Path(folder),
            evaluation,
            log,
            steps_per_epoch,
        )

    def on_epoch_end(self, epoch, logs=None):
        state = {
            'epoch': epoch + 1,
            'best': self.evaluation.best,
            'rows': [_plain(row) for row in self.log.rows],
            'steps_per_epoch': self.steps,
            'config': self.model.detection_config.to_dict(),
        }
        with (
            replaced_file(self.folder / f'epoch-{epoch + 1:04d}.npz') as working,
            open(working, 'wb') as file,
        ):
            np.savez(file, state=json.dumps(state), **_arrays(self.model))
            file.flush()
            os.fsync(file.fileno())
        for old in checkpoints_in(self.folder)[:-KEPT]:
            old.unlink()


def restore(model, folder, steps_per_epoch):
    """Brings a compiled model to where the newest readable checkpoint of a folder was. Returns its Progress.

    Raises:
      ConfigError: the checkpoint is of a training with another Config or of other data; the message names the keys. Or there are
        checkpoints and none can be read.
    """
    files = checkpoints_in(folder)
    for path in reversed(files):
        try:
            with open(path, 'rb') as file:
                arrays = dict(np.load(file))
        except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
            print(f'{path}: not readable ({error}), left out')
            continue
        state = json.loads(str(arrays.pop('state')))
        _check(path, state, model.detection_config.to_dict(), steps_per_epoch)
        _assign(model, arrays, path)
        print(
            f'{path}: continues after epoch {state["epoch"]} of {model.detection_config.train.num_epochs}'
        )
        return Progress(state['epoch'], state['best'], tuple(state['rows']))
    if files:
        raise ConfigError(
            f'{folder}: none of {len(files)} checkpoints can be read; mend that, or choose another workdir to '
            'train anew'
        )
    return Progress()


def checkpoints_in(folder):
    """The files of checkpoints, oldest first."""
    return sorted(pathlib.Path(folder).glob('epoch-*.npz'))


def _variables(model):
    """{name in the file: variable} of all that changes in a step."""
    optimizer = model.optimizer
    build_once(optimizer, model.trainable_variables)
    own = list(optimizer.variables)
    scale = getattr(
        optimizer, '_loss_scale', None
    )  # Keras 2 keeps the dynamic loss scale out of `variables`
    if hasattr(scale, 'current_loss_scale'):
        own += [scale.current_loss_scale, scale.counter]
    if assignable_rate(model.detection_config.train) and not any(
        v is optimizer.learning_rate for v in own
    ):
        own.append(optimizer.learning_rate)
    groups = {'weights': model.weights, 'averages': model.training_state.averages, 'optimizer': own}
    return {
        f'{group}.{i}': v for group, variables in groups.items() for i, v in enumerate(variables)
    }


def _arrays(model):
    return {name: tf.convert_to_tensor(v).numpy() for name, v in _variables(model).items()}


def _assign(model, arrays, path):
    variables = _variables(model)
    if {n: a.shape for n, a in arrays.items()} != {n: tuple(v.shape) for n, v in variables.items()}:
        raise ConfigError(
            f'{path}: its variables are not those of this model; it may be of another version of the library or '
            'of Keras. Choose another workdir'
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _check(path, state, config, steps_per_epoch):
    # Read as any configuration is: a checkpoint of an older version may lack keys that now have
    # defaults, and keeps the label map in an older form.
    saved = load_config(Config(), state['config']).to_dict()
    found = [
        f'{section}.{key} is {saved[section][key]!r} there and {value!r} now'
        for section, values in config.items()
        for key, value in values.items()
        if not {section, f'{section}.{key}'} & _FREE and saved[section][key] != value
    ]
    if state['steps_per_epoch'] != steps_per_epoch:
        found.append(
            f'an epoch had {state["steps_per_epoch"]} steps there and has {steps_per_epoch} now (other training data?)'
        )
    if found:
        raise ConfigError(
            f'{path.parent.parent} holds a training with other settings: {"; ".join(found)}. The schedule and the '
            'weights depend on them: set them back to continue, or choose another workdir'
        )


def _plain(row):
    return {
        name: value if isinstance(value, (int, str)) else float(value)
        for name, value in row.items()
    }
