"""Prints the resident memory of a process after each of its evaluations.

Example:
  python tests/memory_of_evaluations.py evaluate|fit COUNT

`evaluate` makes a detect function for each, as a user's loop does; `fit` trains between them.
results/evaluations.csv has what it printed.
"""

import pathlib
import sys
import tempfile

import drawn
import keras
from fit_worker import small_fit
from little import little_config

from keras_efficientdet import dataset, efficientdet, evaluate


def resident():
    """Resident memory of this process in MB."""
    lines = pathlib.Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith('VmRSS')) / 1000


class Resident(keras.callbacks.Callback):
    """Memory after each epoch."""

    def on_train_begin(self, logs=None):
        self.after = []

    def on_epoch_end(self, epoch, logs=None):
        self.after.append(resident())


def after_evaluations(way, count, records):
    """Memory after each of `count` evaluations. records: a folder of records."""
    if way == 'fit':
        memory = Resident()
        small_fit(
            records,
            records.parent / 'run',
            {'num_epochs': count},
            evaluate_every=1,
            callbacks=[memory],
        )
        return memory.after
    config, after = little_config(records), []
    model, data = efficientdet(config), dataset(records, config, training=False)
    for _ in range(count):
        evaluate(model, data, progress=False)
        after.append(resident())
    return after


def drawn_records(folder):
    return drawn.records(
        pathlib.Path(folder), [(64, 64 + 2 * i, [drawn.box(2 + i, 8, 44, 46)]) for i in range(9)]
    )


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as folder:
        after = after_evaluations(sys.argv[1], int(sys.argv[2]), drawn_records(folder))
    print('MB after each evaluation:', *(f'{mb:.0f}' for mb in after))
    print(f'the last over the second: {after[-1] - after[1]:.1f} MB')
