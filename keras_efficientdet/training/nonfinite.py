"""A loss that is no number: stops the training at once and keeps what is needed to find out why."""

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
- the learning rate is too high for the batch size, or the warm-up too short (learning_rate is given per 64 images)
- the input: a non-finite number is named above if there is one
- float16 without loss scaling
- clip_gradients_norm=0"""


class StopOnNonFinite(keras.callbacks.Callback):
    """Raises NonFiniteLossError at the end of the step, before any file of the training is written again.

    Leaves nonfinite_batch.npz (images, targets.*, weights.*) and nonfinite.txt in `workdir`.

    Args:
      batches: function (epoch, counted from 0) -> the batches of that epoch as the training saw them.
    """

    def __init__(self, workdir, batches):
        super().__init__()
        self.workdir, self.batches = pathlib.Path(workdir), batches

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.first = epoch, 0

    def on_train_batch_end(self, batch, logs=None):
        if math.isfinite(
            float(logs['loss'])
        ):  # the mean of the epoch so far: one bad step spoils it
            self.first = batch + 1
            return
        step, arrays = self._offending(batch)
        with (
            replaced_file(self.workdir / 'nonfinite_batch.npz') as working,
            open(working, 'wb') as file,
        ):
            np.savez(file, **arrays)
        text = self._report(step, batch, arrays, logs)
        (self.workdir / 'nonfinite.txt').write_text(text)
        raise NonFiniteLossError(
            f'{text}\nThe batch is in {self.workdir / "nonfinite_batch.npz"}; checkpoints and best weights '
            'are those from before'
        )

    def _offending(self, last):
        """(step, its arrays): of the steps of one execution the first whose input is not finite, or the first."""
        batches = itertools.islice(
            self.batches(self.epoch).as_numpy_iterator(), self.first, last + 1
        )
        found = [(step, _named(batch)) for step, batch in enumerate(batches, self.first)]
        return next((f for f in found if _broken(f[1])), found[0])

    def _report(self, step, last, arrays, logs):
        terms = [name for name, value in logs.items() if not math.isfinite(float(value))]
        outputs = {
            name: tf.convert_to_tensor(v).numpy()
            for name, v in self.model(arrays['images'], training=False).items()
        }
        weights = {variable_path(v): tf.convert_to_tensor(v).numpy() for v in self.model.weights}
        where = (
            f'step {step + 1}'
            if last == self.first
            else f'one of the steps {self.first + 1} to {last + 1}'
        )
        return '\n'.join(
            [
                f'the loss is not finite in epoch {self.epoch + 1}, {where}: {", ".join(terms)}',
                *(
                    f'not finite in {what}: {_list(_broken(values))}'
                    for what, values in (
                        ('the input', arrays),
                        ('the outputs after the step', outputs),
                        ('the weights after the step', weights),
                    )
                ),
                CAUSES,
            ]
        )


def _named(batch):
    images, *parts = batch
    return {
        'images': images,
        **{
            f'{part}.{name}': value
            for part, values in zip(('targets', 'weights'), parts, strict=True)
            for name, value in values.items()
        },
    }


def _broken(arrays):
    return [name for name, array in arrays.items() if not np.all(np.isfinite(array))]


def _list(names):
    return (
        ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '')
        if names
        else 'none'
    )
