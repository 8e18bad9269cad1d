"""A loss that is infinite or NaN: stops the training and keeps what is needed to find the cause."""

import itertools
import math
import pathlib

import keras
import numpy as np
import tensorflow as tf

from keras_efficientdet.errors import NonFiniteLossError
from keras_efficientdet.files import replaced_file
from keras_efficientdet.keras_compat import variable_path

CAUSES = """Probable causes, the most frequent first:
- the learning rate is too high for the batch size (learning_rate is given for 64 images), or the
  warm-up is too short
- the input: a non-finite number is named above if there is one
- float16 without loss scaling
- clip_gradients_norm=0"""


class StopOnNonFinite(keras.callbacks.Callback):
    """Raises NonFiniteLossError at the end of the step, before any file is written again.

    Leaves nonfinite_batch.npz (images, targets.*, weights.*) and nonfinite.txt in `workdir`.

    Args:
      workdir: folder of the training.
      batches: function (epoch, from 0) -> the batches of that epoch as the training saw them.
    """

    def __init__(self, workdir, batches):
        super().__init__()
        self.workdir = pathlib.Path(workdir)
        self.batches = batches

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self.first = 0  # of the steps of this execution

    def on_train_batch_end(self, batch, logs=None):
        # The logs hold the mean of the epoch so far, which a single bad step spoils.
        if math.isfinite(float(logs['loss'])):
            self.first = batch + 1
            return
        step, arrays = self._offending(batch)
        path = self.workdir / 'nonfinite_batch.npz'
        with replaced_file(path) as working, open(working, 'wb') as file:
            np.savez(file, **arrays)
        text = self._report(step, batch, arrays, logs)
        (self.workdir / 'nonfinite.txt').write_text(text, encoding='utf-8')
        raise NonFiniteLossError(
            f'{text}\nThe batch is in {path}; checkpoints and best weights are those from before'
        )

    def _offending(self, last):
        """(step, its arrays) of the first step since the last execution with a non-finite input.

        Where all inputs are finite, the first step.
        """
        batches = itertools.islice(
            self.batches(self.epoch).as_numpy_iterator(), self.first, last + 1
        )
        found = [(step, _named(batch)) for step, batch in enumerate(batches, self.first)]
        return next((f for f in found if _broken(f[1])), found[0])

    def _report(self, step, last, arrays, logs):
        """The text of nonfinite.txt."""
        terms = [name for name, value in logs.items() if not math.isfinite(float(value))]
        outputs = self.model(arrays['images'], training=False)
        weights = {variable_path(variable): variable for variable in self.model.weights}
        where = f'step {step + 1}'
        if last != self.first:
            where = f'one of the steps {self.first + 1} to {last + 1}'
        lines = [
            f'the loss is not finite in epoch {self.epoch + 1}, {where}: {", ".join(terms)}',
            f'not finite in the input: {_list(_broken(arrays))}',
            f'not finite in the outputs after the step: {_list(_broken(_read(outputs)))}',
            f'not finite in the weights after the step: {_list(_broken(_read(weights)))}',
            CAUSES,
        ]
        return '\n'.join(lines)


def _named(batch):
    """{'images', 'targets.classes', ...: array} of a batch (images, targets, weights)."""
    images, targets, weights = batch
    arrays = {'images': images}
    arrays |= {f'targets.{name}': value for name, value in targets.items()}
    return arrays | {f'weights.{name}': value for name, value in weights.items()}


def _read(tensors):
    return {name: tf.convert_to_tensor(value).numpy() for name, value in tensors.items()}


def _broken(arrays):
    return [name for name, array in arrays.items() if not np.all(np.isfinite(array))]


def _list(names):
    if not names:
        return 'none'
    more = f' and {len(names) - 5} more' if len(names) > 5 else ''
    return ', '.join(names[:5]) + more
