"""One process of a distributed training (tests/test_strategies.py): trains through `fit` and leaves
what it saw.

strategy_worker.py STRATEGY OUTPUT RECORDS WEIGHTS, the strategy one, mirrored (two logical CPUs) or
multi_worker (TF_CONFIG).
With several replicas the training breaks off after three of five epochs, and a second call of `fit`
goes on.
Writes OUTPUT.npz with weights, averages and losses, OUTPUT.json with the logs.
"""

import contextlib
import json
import os
import sys

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
import keras
import numpy as np
import tensorflow as tf

name, output, records, weights = sys.argv[1:]
if name == 'mirrored':
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )

import logged  # noqa: E402
from little import little_config  # noqa: E402

from keras_efficientdet import fit  # noqa: E402
from keras_efficientdet.keras_compat import variable_path  # noqa: E402
from keras_efficientdet.training import strategies  # noqa: E402


class Steps(keras.callbacks.Callback):
    """The losses of each step, from the running means in the logs, and the weights after the last
    one."""

    def __init__(self):
        super().__init__()
        self.losses, self.weights = [], {}

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append([float(logs[k]) for k in ('loss', 'classes_loss', 'boxes_loss')])
        self.weights = values(self.model)


class Stop(keras.callbacks.Callback):
    """Ends a training in the middle, as an accident would."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 3:
            raise InterruptedError


def values(model):
    return {
        variable_path(v): np.asarray(tf.convert_to_tensor(v)) for v in model.plan.state.variables
    }


logged.to_stdout()
strategy = strategies.strategy_for(name)
# Ten steps, two in an epoch. Wide margins would leave batch norm little but rounding to normalise,
# and long steps amplify it.
config = little_config(
    records,
    {
        'batch_size': 10,
        'num_epochs': 5,
        'jitter_min': 0.9,
        'jitter_max': 1.3,
        'learning_rate': 0.0005,
        'lr_warmup_init': 0.0001,
    },
)
steps = Steps()


def train(folder, *callbacks):
    return fit(
        config,
        records,
        records,
        f'{folder}-run',
        weights=weights,
        callbacks=[steps, *callbacks],
        evaluate_every=5,
        strategy=strategy,
    )


if name != 'one':
    with contextlib.suppress(InterruptedError):
        train(output, Stop())  # workers that are no chief must not write there
history = train(f'{output[:-1]}0' if name == 'multi_worker' else output)
averages = values(history.model)  # `fit` leaves them in the model
np.savez(
    f'{output}.npz',
    losses=steps.losses,
    **{f'weight/{path}': w for path, w in steps.weights.items()},
    **{f'average/{path}': a for path, a in averages.items()},
)

with open(f'{output}.json', 'w') as file:
    json.dump(history.history, file, default=float)
