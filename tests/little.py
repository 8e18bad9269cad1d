"""The smallest detector that has all parts: for tests that wait for graphs to be traced, not for
sums."""

from keras_efficientdet import load_config
from keras_efficientdet.data.cache import label_overrides
from keras_efficientdet.network.backbones import efficientnet

efficientnet.SCALINGS.setdefault('lite-short', (0.5, 0.1))
TINY = {
    'image_size': 128,
    'backbone_name': 'lite-short',
    'survival_prob': 1.0,
    'min_level': 4,
    'max_level': 5,
    'fpn_cell_repeats': 1,
    'box_class_repeats': 1,
    'fpn_num_filters': 16,
    'batch_size': 4,
    'num_epochs': 2,
    'learning_rate': 0.008,
    'lr_warmup_init': 0.0002,
    'lr_warmup_epoch': 0.5,
    'weight_decay': 4e-3,
    'moving_average_decay': 0.5,
    'max_nms_inputs': 200,
    'max_output_size': 10,
}


def little_config(folder, *overrides):
    """For the classes of a folder of records: one block per stage, two levels, L2 that shows.

    The smallest feature is 4x4: batch norm over few values that are nearly equal makes any
    difference of rounding large.
    """
    return load_config('efficientdet-lite0', [label_overrides(folder), TINY, *overrides])
