"""Recipes: what to train with, chosen from the size of the data and of the batch."""

import math

from keras_efficientdet.config.values import plain
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.training.schedules import REFERENCE_BATCH

SMALL_STEPS = 1000  # enough for 205 pictures of blood cells (results/bccd.csv)
FINETUNE_IMAGES = 100_000  # pictures seen, all epochs together
FEW_IMAGES = 1000
SMALLEST_BATCH = 4  # below it statistics of a batch are noise


def recipe(name, config, images):
    """Settings of a recipe for this much data.

    Args:
      name: 'small' (hundreds of pictures, from an ImageNet backbone), 'finetune' (from a detector's weights), or 'scratch'
        (from random weights: the official schedule).
      config: Config; model and `train.batch_size` are read.
      images: number of training pictures.
    Returns:
      {key: value} to be applied before the user's own settings, {key: why}.
    Raises:
      ConfigError: unknown name.
    """
    if name not in RECIPES:
        raise ConfigError(f'unknown recipe {name!r}; valid: {", ".join(RECIPES)}')
    batch = config.train.batch_size
    chosen = RECIPES[name](batch, images, max(1, images // batch))
    if name != 'scratch':
        chosen |= _frozen(name, config.model.backbone_name, batch, images)
    return {key: value for key, (value, _) in chosen.items()}, {
        key: why for key, (_, why) in chosen.items()
    }


def _small(batch, images, steps_per_epoch):
    epochs = min(300, math.ceil(SMALL_STEPS / steps_per_epoch))
    return {
        'optimizer': ('adam', 'new heads on a small set: needs no search of the rate'),
        **_rate(
            0.002 * math.sqrt(batch / 8), batch, '0.002 at batch 8, times the root of the batch'
        ),
        **_schedule(epochs, steps_per_epoch, batch, warm_up_from=0.0002),
        **_jitter(0.7, 1.4, 'few pictures: mild scaling, so that small objects stay'),
    }


def _finetune(batch, images, steps_per_epoch):
    epochs = min(150, max(12, math.ceil(FINETUNE_IMAGES / images)))
    return {
        'optimizer': ('sgd', 'as the weights were trained'),
        **_rate(
            0.01 * batch / REFERENCE_BATCH,
            batch,
            'an eighth of the official rate: the weights are good already',
        ),
        **_schedule(epochs, steps_per_epoch, batch, warm_up_from=0.001 * batch / REFERENCE_BATCH),
        **_jitter(0.5, 1.5, 'half of the official scaling: a short training'),
    }


def _scratch(batch, images, steps_per_epoch):
    return {
        'num_epochs': (300, 'the official schedule'),
        'optimizer': ('sgd', 'the official one'),
        **_rate(0.08 * batch / REFERENCE_BATCH, batch, 'the official 0.08 for 64 pictures'),
        'lr_warmup_epoch': (1.0, 'the official one'),
        'lr_warmup_init': (
            0.008 * batch / REFERENCE_BATCH,
            'officially not scaled with the batch: a small one would start high',
        ),
    }


RECIPES = {'finetune': _finetune, 'scratch': _scratch, 'small': _small}


def _rate(peak, batch, why):
    """`learning_rate` is given for 64 pictures."""
    return {
        'learning_rate': (
            _rounded(peak * REFERENCE_BATCH / batch),
            f'{_rounded(peak)} a step: {why}',
        ),
        'lr_decay_method': ('cosine', 'down to nothing at the end'),
    }


def _schedule(epochs, steps_per_epoch, batch, warm_up_from):
    """Epochs, warm-up, and an average that covers the last tenth of the steps."""
    steps = epochs * steps_per_epoch
    warm = min(steps // 10, max(steps_per_epoch, 25))
    return {
        'num_epochs': (epochs, f'{steps} steps of {batch} pictures'),
        'lr_warmup_epoch': (_rounded(warm / steps_per_epoch), f'{warm} steps'),
        'lr_warmup_init': (_rounded(warm_up_from), 'a tenth of the peak'),
        'moving_average_decay': (
            _rounded(min(0.9998, 1.0 - 10.0 / max(steps, 20))),
            'averages the last tenth of the steps',
        ),
    }


def _jitter(smallest, largest, why):
    return {'jitter_min': (smallest, why), 'jitter_max': (largest, 'as above')}


def _frozen(name, backbone, batch, images):
    """What is to keep still: a backbone that knows many pictures where there are few, or its batch norm in a tiny batch."""
    if name == 'finetune' and images < FEW_IMAGES:
        return {
            'freeze': (
                (f'^{backbone}/',),
                f'{images} pictures are too few for a backbone that knows many',
            )
        }
    if batch < SMALLEST_BATCH:
        return {
            'freeze': (
                (f'^{backbone}/.*batch_normalization',),
                f'statistics of {batch} pictures are noise',
            )
        }
    return {}


def _rounded(value):
    return float(f'{value:.4g}')


def explain(overrides, reasons, config):
    """The choice as text, a line each; where `config`, the final one, has another value, that is named as the user's."""
    final = {key: value for section in config.to_dict().values() for key, value in section.items()}
    lines = []
    for key, value in overrides.items():
        yours = '' if final[key] == plain(value) else f'; yours: {final[key]}'
        lines.append(f'  {key} = {value}  ({reasons[key]}{yours})')
    return '\n'.join(lines)
