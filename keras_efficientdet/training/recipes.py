"""Recipes: training settings that follow from the size of the data set and of the batch."""

import math

from keras_efficientdet.config import Config
from keras_efficientdet.config.values import plain
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.training.schedules import REFERENCE_BATCH

SMALL_STEPS = 1000  # enough for 205 images of blood cells (results/bccd.csv)
FINETUNE_IMAGES = 100_000  # images seen in all epochs together
FEW_IMAGES = 1000
SMALLEST_BATCH = 4  # below it, batch-norm statistics are mostly noise


def recipe(name: str, config: Config, images: int) -> tuple[dict, dict]:
    """Settings of a recipe for a data set of this size.

    Args:
      name: 'small' (hundreds of images, from an ImageNet backbone), 'finetune' (from the weights of
        a detector), or 'scratch' (from random weights, by the official schedule).
      config: its backbone and `train.batch_size` are read.
      images: number of training images.
    Returns:
      {key: value} to be applied before the user's own settings, {key: reason}.
    Raises:
      ConfigError: unknown name.
    """
    if name not in RECIPES:
        raise ConfigError(f'unknown recipe {name!r}; valid: {", ".join(RECIPES)}')
    batch = config.train.batch_size
    chosen = RECIPES[name](batch, images, max(1, images // batch))
    if name != 'scratch':
        chosen |= _frozen(name, config.model.backbone_name, batch, images)
    settings = {key: value for key, (value, _) in chosen.items()}
    reasons = {key: reason for key, (_, reason) in chosen.items()}
    return settings, reasons


def _small(batch, images, steps_per_epoch):
    epochs = min(300, math.ceil(SMALL_STEPS / steps_per_epoch))
    return {
        'optimizer': ('adam', 'trains new heads on little data without a search for the rate'),
        **_rate(
            0.002 * math.sqrt(batch / 8),
            batch,
            '0.002 at a batch of 8, and growing with the square root of the batch',
        ),
        **_schedule(epochs, steps_per_epoch, batch, warm_up_from=0.0002),
        **_jitter(0.7, 1.4, 'mild scaling, because it would make small objects disappear'),
    }


def _finetune(batch, images, steps_per_epoch):
    epochs = min(150, max(12, math.ceil(FINETUNE_IMAGES / images)))
    return {
        'optimizer': ('sgd', 'the optimizer that the weights were trained with'),
        **_rate(
            0.01 * batch / REFERENCE_BATCH,
            batch,
            'an eighth of the official rate, because the weights are good already',
        ),
        **_schedule(epochs, steps_per_epoch, batch, warm_up_from=0.001 * batch / REFERENCE_BATCH),
        **_jitter(0.5, 1.5, 'about half of the official range, for a short training'),
    }


def _scratch(batch, images, steps_per_epoch):
    return {
        'num_epochs': (300, 'the official schedule'),
        'optimizer': ('sgd', 'the official optimizer'),
        **_rate(0.08 * batch / REFERENCE_BATCH, batch, 'the official 0.08 for a batch of 64'),
        'lr_warmup_epoch': (1.0, 'the official length'),
        'lr_warmup_init': (
            0.008 * batch / REFERENCE_BATCH,
            'scaled with the batch; the official value is not, and too high for small batches',
        ),
    }


RECIPES = {'finetune': _finetune, 'scratch': _scratch, 'small': _small}


def _rate(peak, batch, why):
    """peak: the rate of a step. The key `learning_rate` is given for 64 images."""
    per_reference = _rounded(peak * REFERENCE_BATCH / batch)
    return {
        'learning_rate': (per_reference, f'{_rounded(peak)} in a step: {why}'),
        'lr_decay_method': ('cosine', 'falls to zero at the end'),
    }


def _schedule(epochs, steps_per_epoch, batch, warm_up_from):
    """Epochs, warm-up, and an average that covers the last tenth of the steps."""
    steps = epochs * steps_per_epoch
    warm = min(steps // 10, max(steps_per_epoch, 25))
    # 1 / (1 - decay) steps is the length of the average; 0.9998 is the official decay.
    decay = min(0.9998, 1.0 - 10.0 / max(steps, 20))
    return {
        'num_epochs': (epochs, f'{steps} steps of {batch} images'),
        'lr_warmup_epoch': (_rounded(warm / steps_per_epoch), f'{warm} steps'),
        'lr_warmup_init': (_rounded(warm_up_from), 'a tenth of the peak'),
        'moving_average_decay': (_rounded(decay), 'averages the last tenth of the steps'),
    }


def _jitter(smallest, largest, why):
    return {'jitter_min': (smallest, why), 'jitter_max': (largest, 'see jitter_min')}


def _frozen(name, backbone, batch, images):
    """Freezes the backbone if there are few images, or its batch norm if the batch is tiny."""
    if name == 'finetune' and images < FEW_IMAGES:
        reason = f'{images} images would rather spoil than improve the trained backbone'
        return {'freeze': ((f'^{backbone}/',), reason)}
    if batch < SMALLEST_BATCH:
        reason = f'batch-norm statistics of {batch} images are mostly noise'
        return {'freeze': ((f'^{backbone}/.*batch_normalization',), reason)}
    return {}


def _rounded(value):
    return float(f'{value:.4g}')


def explain(overrides: dict, reasons: dict, config: Config) -> str:
    """Settings and reasons as text, a line each.

    A value of the final `config` that differs is shown as the user's own.
    """
    final = {}
    for section in config.to_dict().values():
        final |= section
    lines = []
    for key, value in overrides.items():
        yours = '' if final[key] == plain(value) else f'; yours: {final[key]}'
        lines.append(f'  {key} = {value}  ({reasons[key]}{yours})')
    return '\n'.join(lines)
