"""A small training in a process of its own: fit_worker.py RECORDS WORKDIR [SIGNAL EPOCH STEP] sends itself a signal there."""
import os
import signal
import sys

import keras
import tensorflow as tf

from keras_efficientdet import efficientnet, fit, load_config
from keras_efficientdet.cache import label_overrides


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


def small_fit(records, workdir, changes=(), callbacks=(), evaluate_every=10):
    """Four epochs of four steps with everything that is random switched on."""
    efficientnet.SCALINGS['quarter'] = 0.25, 0.25                # a small backbone, since compiling is what takes time
    config = load_config('efficientdet-lite0', [label_overrides(records), {
        'backbone_name': 'quarter', 'image_size': 64, 'batch_size': 2, 'num_epochs': 4, 'fpn_cell_repeats': 1,
        'box_class_repeats': 2, 'fpn_num_filters': 8,
        'max_level': 5, 'optimizer': 'adam', 'learning_rate': 0.05, 'lr_warmup_epoch': 0.5, 'survival_prob': 0.5}, *changes])
    return fit(config, records, records, workdir, callbacks=callbacks, evaluate_every=evaluate_every)


if __name__ == '__main__':
    tf.config.experimental.enable_op_determinism()
    small_fit(*sys.argv[1:3], callbacks=[Signal(*sys.argv[3:6])] if sys.argv[3:] else [])
