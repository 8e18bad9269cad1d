"""Checks of a configuration: learning rate, steps, scaling of the input, and the weights that training starts from."""

from keras_efficientdet.config import load_config, model_names
from keras_efficientdet.doctor.findings import Finding
from keras_efficientdet.errors import CheckpointError
from keras_efficientdet.weights.class_count import class_count
from keras_efficientdet.weights.released import released_config, released_sets

RATES = {
    'sgd': (0.004, 0.4),
    'adam': (1e-4, 4e-3),
}  # sgd: per 64 images; adam: of a step, it does not scale with the batch
GOOD_RATES = {'sgd': '0.08 for 64 images, the official one', 'adam': '0.001 to 0.003 in each step'}
SMALL_BATCH = 4
FEW_STEPS = 200
FORGOTTEN = {
    False: 690,
    True: 1000,
}  # steps after which momentum .99 forgets where it began; with averages of it


def check_settings(config, images, weights=None):
    """Findings about a Config for `images` training pictures; `weights` as `models.efficientdet` takes them."""
    found = [
        _batch(config.train, images),
        _rate(config.train),
        _warmup_start(config.train),
        *_steps(config.train, images),
        _scaling(config, weights),
        _image_size(config.model),
        _frozen(config.train, weights),
        _checkpoint(config, weights),
    ]
    return [f for f in found if f]


def _batch(train, images):
    if images < train.batch_size:
        return Finding(
            'batch size',
            'error',
            f'{images} pictures are fewer than one batch of {train.batch_size}',
            'lower batch_size',
        )
    if train.batch_size < SMALL_BATCH:
        return Finding(
            'batch size',
            'warning',
            f'batch_size {train.batch_size}: batch norm takes mean and variance from these '
            'few pictures',
            f'use at least {SMALL_BATCH}, 8 is better; a smaller image_size makes room',
        )
    return None


def _rate(train):
    if train.optimizer not in RATES:
        return Finding(
            'optimizer',
            'error',
            f'optimizer {train.optimizer!r} is not known',
            f'choose of {", ".join(RATES)}',
        )
    low, high = RATES[train.optimizer]
    step = train.learning_rate * train.batch_size / 64
    rate = train.learning_rate if train.optimizer == 'sgd' else step
    if low <= rate <= high:
        return None
    unit = 'for 64 images' if train.optimizer == 'sgd' else 'in each step'
    return Finding(
        'learning rate',
        'warning',
        f'learning_rate {train.learning_rate} (for 64 images; {step:.2g} in each step of '
        f'{train.batch_size}) is too {"high" if rate > high else "low"} for {train.optimizer}: from {low:g} to '
        f'{high:g} {unit} is known to train',
        f'try {GOOD_RATES[train.optimizer]}; learning_rate is always given for '
        '64 images and scaled by batch_size / 64',
    )


def _warmup_start(train):
    step = train.learning_rate * train.batch_size / 64
    if train.lr_warmup_epoch <= 0 or train.lr_warmup_init <= 2 * step:
        return None
    return Finding(
        'warm-up start',
        'warning',
        f'the warm-up begins at {train.lr_warmup_init:g} and ends at {step:.2g}: '
        'lr_warmup_init is not scaled with the batch',
        f'set lr_warmup_init={step / 10:.1g}',
    )


def _steps(train, images):
    epoch = images // train.batch_size
    total, warm = epoch * train.num_epochs, int(epoch * train.lr_warmup_epoch)
    if not total:
        return
    if warm > total / 2:
        yield Finding(
            'warm-up',
            'warning',
            f'{warm} of {total} steps are warm-up',
            'lower lr_warmup_epoch, or train longer',
        )
    if total < FEW_STEPS:
        yield Finding(
            'steps',
            'warning',
            f'{total} steps in all ({epoch} in each of {train.num_epochs} epochs) are too few to '
            'learn from',
            f'raise num_epochs to {-(-2 * FEW_STEPS // epoch)} or more, or lower batch_size',
        )
    needed = FORGOTTEN[train.moving_average_decay > 0]
    if not train.batch_norm_ramp and total < needed:
        yield Finding(
            'batch norm',
            'warning',
            f'with the constant momentum 0.99 the statistics still remember their start after '
            f'{total} steps; {needed} are needed',
            'leave batch_norm_ramp on, or train longer',
        )


def _expected(config, weights):
    """The ModelConfig that the named model, with these weights, has of itself, or None."""
    if config.model.name not in model_names():
        return None
    usual = load_config(config.model.name)
    is_released = isinstance(weights, str) and config.model.name in released_sets().get(weights, {})
    return (released_config(usual, weights) if is_released else usual).model


def _scaling(config, weights):
    wanted, model = _expected(config, weights), config.model
    if wanted is None or wanted.backbone_name != model.backbone_name:
        lite = 'lite' in model.backbone_name
        wanted = load_config('efficientdet-lite0' if lite else 'efficientdet-d0').model
    have, want = ((m.mean_rgb, m.stddev_rgb) for m in (model, wanted))
    if all(abs(a - b) < 1.5 for a, b in zip(have[0] + have[1], want[0] + want[1], strict=True)):
        return None
    return Finding(
        'scaling',
        'warning',
        f'mean_rgb {_rounded(have[0])} and stddev_rgb {_rounded(have[1])} are not what '
        f'{model.backbone_name} was trained with',
        f'set mean_rgb={_rounded(want[0])} and stddev_rgb={_rounded(want[1])}',
    )


def _rounded(values):
    return [round(v, 1) for v in values]


def _image_size(model):
    step = 2**model.max_level
    usual = load_config(model.name).model.image_size if model.name in model_names() else None
    if model.image_size == usual or not any(n % step for n in model.image_size):
        return None
    nearest = [max(step, round(n / step) * step) for n in model.image_size]
    return Finding(
        'image size',
        'note',
        f'image_size {list(model.image_size)} (height, width) is not a multiple of {step}, so '
        'that the coarse levels have anchors at fractions of a pixel',
        f'fine as it is; {nearest} avoids it',
    )


def _frozen(train, weights):
    if weights is not None or not train.freeze:
        return None
    return Finding(
        'freeze',
        'warning',
        f'layers that match {list(train.freeze)} are frozen, and training starts from random '
        'values: they will stay random',
        'start from weights, as --weights=imagenet, or leave freeze out',
    )


def _checkpoint(config, weights):
    if weights is None or (isinstance(weights, str) and weights == 'imagenet'):
        return None
    try:
        count = class_count(weights, config.model)
    except CheckpointError as error:
        return Finding('weights', 'error', str(error), 'check the path of the weights')
    if count in (None, config.model.num_classes):
        return None
    return Finding(
        'weights',
        'note',
        f'the weights know {count} classes, the configuration has {config.model.num_classes}',
        "fit gives the class prediction fresh values and takes all else over; so does on_class_mismatch='reinit' of "
        'efficientdet',
    )
