"""One process of a distributed training (tests/test_strategies.py): trains through `fit` and leaves what it saw.

strategy_worker.py STRATEGY RECORDS OUTPUT: `one`, `mirrored` (two logical CPUs) or `multi_worker` (TF_CONFIG); writes OUTPUT.npz
with weights, averages and losses, OUTPUT.json with the logs.
"""
import json
import os
import sys

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
import keras
import numpy as np
import tensorflow as tf

name, records, output = sys.argv[1:4]
if name == 'mirrored':
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices('CPU')[0],
                                               [tf.config.LogicalDeviceConfiguration()] * 2)

from keras_efficientdet import fit, load_config  # noqa: E402
from keras_efficientdet.checkpoints import variable_path  # noqa: E402
from keras_efficientdet.records import label_overrides  # noqa: E402
from keras_efficientdet.training import strategies  # noqa: E402

TINY = {'image_size': 64, 'fpn_cell_repeats': 1, 'box_class_repeats': 1, 'fpn_num_filters': 16, 'survival_prob': 1.0,
        'batch_size': 4, 'num_epochs': 2, 'learning_rate': 0.08, 'lr_warmup_init': 0.002, 'lr_warmup_epoch': 0.5,
        'weight_decay': 4e-3, 'moving_average_decay': 0.5, 'max_nms_inputs': 200, 'max_output_size': 10}


class Steps(keras.callbacks.Callback):
    """The losses of each step, from the running means in the logs."""

    def __init__(self):
        super().__init__()
        self.losses, self.averages = [], None

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append([float(logs[k]) for k in ('loss', 'classes_loss', 'boxes_loss')])

    def on_train_end(self, logs=None):
        self.averages = self.model.training_state.evaluated()


strategy = strategies.strategy_for(name)
config = load_config('efficientdet-lite0', [label_overrides(records), TINY, *sys.argv[4:]])
steps = Steps()
history = fit(config, records, records, f'{output}-run', callbacks=[steps], evaluate_every=2, strategy=strategy)
averaged = [np.asarray(tf.convert_to_tensor(v)) for v in history.model.variables if 'seed' not in variable_path(v)]
history.model.training_state.swap()
trained = [np.asarray(tf.convert_to_tensor(v)) for v in history.model.variables if 'seed' not in variable_path(v)]
paths = [variable_path(v) for v in history.model.variables if 'seed' not in variable_path(v)]
np.savez(f'{output}.npz', losses=steps.losses, **{f'weight/{p}': w for p, w in zip(paths, trained, strict=True)},
         **{f'average/{p}': a for p, a in zip(paths, averaged, strict=True)})
with open(f'{output}.json', 'w') as file:
    json.dump({k: [float(v) for v in values] for k, values in history.history.items()}, file)
