"""A small training in a process of its own: fit_worker.py RECORDS WORKDIR [SIGNAL EPOCH STEP]
sends itself a signal there."""

import os
import signal
import sys

import keras
import logged
import tensorflow as tf
from little import little_config

from keras_efficientdet import fit


class Signal(keras.callbacks.Callback):
    """Sends this process a signal after one step (both counted from 0)."""

    def __init__(self, name, epoch, step):
        super().__init__()
        self.number, self.place, self.epoch = getattr(signal, name), (int(epoch), int(step)), None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.place:
            os.kill(os.getpid(), self.number)


def small_fit(records, workdir, *changes, **arguments):
    """Four epochs of four steps with all that is random switched on. Tracing the network takes
    most of the time."""
    config = little_config(
        records,
        {
            'min_level': 4,
            'max_level': 5,
            'box_class_repeats': 2,
            'fpn_num_filters': 8,
            'survival_prob': 0.5,
            'batch_size': 2,
            'num_epochs': 4,
            'optimizer': 'adam',
        },
        *changes,
    )
    return fit(config, records, records, workdir, **{'evaluate_every': 4, **arguments})


if __name__ == '__main__':
    logged.to_stdout()
    tf.config.experimental.enable_op_determinism()
    tf.config.optimizer.set_experimental_options(
        {'disable_meta_optimizer': True}
    )  # it costs more than it saves here
    small_fit(*sys.argv[1:3], callbacks=[Signal(*sys.argv[3:6])] if sys.argv[3:] else [])
