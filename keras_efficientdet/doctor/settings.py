"""Checks of a configuration: batch size, learning rate, steps, normalisation, initial weights."""

from keras_efficientdet.config import Config, load_config, model_names
from keras_efficientdet.config.choices import SCALINGS
from keras_efficientdet.doctor.findings import Finding, counted
from keras_efficientdet.errors import CheckpointError
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.weights.class_count import class_count
from keras_efficientdet.weights.released import released_config, released_sets

# Rates that are known to train: of sgd for 64 images, of adam in each step, because the rate that
# suits adam does not grow with the batch.
RATES = {'sgd': (0.004, 0.4), 'adam': (1e-4, 4e-3)}
SMALL_BATCH = 4
FEW_STEPS = 200
# Steps after which a moving average with momentum 0.99 has forgotten its initial value:
# 0.99**690 is 0.001. The average that weights average over (moving_average_decay) needs longer.
_SETTLED_AFTER = 690
_SETTLED_AFTER_AVERAGED = 1000


def check_settings(config: Config, images: int, weights=None) -> list[Finding]:
    """Findings about a Config for `images` training images.

    `weights` is what the training starts from, as `efficientdet` takes it.
    """
    train = config.train
    findings = [
        _batch_too_large(train, images) or _batch_too_small(train),
        _learning_rate(train),
        _warmup_start(train),
        _normalisation(config, weights),
        _image_size(config.model) if head_of(config).anchors else None,
        _freeze(train, weights),
        _initial_weights(config, weights),
    ]
    steps = images // train.batch_size  # of an epoch
    if steps * train.num_epochs > 0:
        findings += [
            _warmup_length(train, steps),
            _few_steps(train, steps),
            _batch_norm(train, steps),
        ]
    return [finding for finding in findings if finding]


def _batch_too_large(train, images):
    if images >= train.batch_size:
        return None
    return Finding(
        'settings.batch_too_large',
        'error',
        f'batch_size {train.batch_size} is more than the {counted(images, "training image")}',
        f'set batch_size to {images} or less',
        numbers={'images': images, 'batch_size': train.batch_size},
    )


def _batch_too_small(train):
    if train.batch_size >= SMALL_BATCH:
        return None
    return Finding(
        'settings.batch_too_small',
        'warning',
        f'batch_size {train.batch_size} is small: batch normalisation estimates mean and variance '
        'from each batch',
        f'use at least {SMALL_BATCH}, better 8; a smaller image_size needs less memory',
        numbers={'batch_size': train.batch_size},
    )


def _step_rate(train):
    """The learning rate of a step: learning_rate is given for 64 images."""
    return train.learning_rate * train.batch_size / 64


def _learning_rate(train):
    if train.optimizer not in RATES:
        return None
    low, high = RATES[train.optimizer]
    step = _step_rate(train)
    rate = train.learning_rate if train.optimizer == 'sgd' else step
    if low <= rate <= high:
        return None
    unit = 'for 64 images' if train.optimizer == 'sgd' else 'in each step'
    return Finding(
        'settings.learning_rate',
        'warning',
        f'learning_rate {train.learning_rate} (for 64 images; {step:.2g} in each step of '
        f'{train.batch_size} images) is too {"high" if rate > high else "low"} for '
        f'{train.optimizer}: rates from {low:g} to {high:g} {unit} are known to train',
        f'{_good_rate(train)}; learning_rate is always given for 64 images and scaled by '
        'batch_size / 64',
        numbers={'learning_rate': train.learning_rate, 'rate': rate, 'low': low, 'high': high},
    )


def _good_rate(train):
    if train.optimizer == 'sgd':
        return 'set learning_rate=0.08, the official value'
    low, high = (rate * 64 / train.batch_size for rate in (0.001, 0.003))
    return f'set learning_rate between {low:.2g} and {high:.2g}, 0.001 to 0.003 in each step'


def _warmup_start(train):
    step = _step_rate(train)
    if train.lr_warmup_epoch <= 0 or train.lr_warmup_init <= 2 * step:
        return None
    return Finding(
        'settings.warmup_start',
        'warning',
        f'the warm-up starts at {train.lr_warmup_init:g} and ends at {step:.2g}, so the rate '
        'falls instead of rising: lr_warmup_init is not scaled by the batch size',
        f'set lr_warmup_init={step / 10:.1g}',
        numbers={'lr_warmup_init': train.lr_warmup_init, 'rate': step},
    )


def _warmup_length(train, steps):
    total = steps * train.num_epochs
    warmup = int(steps * train.lr_warmup_epoch)
    if warmup <= total / 2:
        return None
    return Finding(
        'settings.warmup_length',
        'warning',
        f'{warmup} of {total} training steps are warm-up',
        'lower lr_warmup_epoch, or train longer',
        numbers={'warmup_steps': warmup, 'steps': total},
    )


def _few_steps(train, steps):
    total = steps * train.num_epochs
    if total >= FEW_STEPS:
        return None
    epochs = -(-2 * FEW_STEPS // steps)  # rounded up
    return Finding(
        'settings.few_steps',
        'warning',
        f'{total} training steps ({steps} in each of {counted(train.num_epochs, "epoch")}) are too '
        'few to learn from',
        f'set num_epochs to {epochs} or more, or lower batch_size',
        numbers={'steps': total, 'steps_per_epoch': steps, 'num_epochs': train.num_epochs},
    )


def _batch_norm(train, steps):
    total = steps * train.num_epochs
    needed = _SETTLED_AFTER_AVERAGED if train.moving_average_decay > 0 else _SETTLED_AFTER
    if train.batch_norm_ramp or total >= needed:
        return None
    return Finding(
        'settings.batch_norm',
        'warning',
        f'with batch_norm_ramp=false the statistics of batch normalisation need {needed} steps to '
        f'forget their initial values, and there are {total}',
        'leave batch_norm_ramp on, or train longer',
        numbers={'steps': total, 'needed': needed},
    )


def _expected_model(config, weights):
    """The ModelConfig that the named model has by default with these weights, or None."""
    name = config.model.name
    if name not in model_names():
        return None
    default = load_config(name)
    if isinstance(weights, str) and name in released_sets().get(weights, {}):
        return released_config(default, weights).model
    return default.model


def _normalisation(config, weights):
    model = config.model
    if model.backbone_name not in SCALINGS:
        return None  # another network of Keras gets images as it was trained, whatever they are
    expected = _expected_model(config, weights)
    if expected is None or expected.backbone_name != model.backbone_name:
        like = 'efficientdet-lite0' if 'lite' in model.backbone_name else 'efficientdet-d0'
        expected = load_config(like).model
    ours = [*model.mean_rgb, *model.stddev_rgb]
    theirs = [*expected.mean_rgb, *expected.stddev_rgb]
    # 1.5 grey levels: published values are rounded in various ways.
    if all(abs(a - b) < 1.5 for a, b in zip(ours, theirs, strict=True)):
        return None
    return Finding(
        'settings.normalisation',
        'warning',
        f'mean_rgb {_rounded(model.mean_rgb)} and stddev_rgb {_rounded(model.stddev_rgb)} are not '
        f'the values that {model.backbone_name} was trained with',
        f'set mean_rgb={_rounded(expected.mean_rgb)} and '
        f'stddev_rgb={_rounded(expected.stddev_rgb)}',
        numbers={'mean_rgb': list(model.mean_rgb), 'stddev_rgb': list(model.stddev_rgb)},
    )


def _rounded(values):
    return [round(value, 1) for value in values]


def _image_size(model):
    stride = 2**model.max_level  # of the coarsest level
    usual = load_config(model.name).model.image_size if model.name in model_names() else None
    if model.image_size == usual or not any(side % stride for side in model.image_size):
        return None
    nearest = [max(stride, round(side / stride) * stride) for side in model.image_size]
    return Finding(
        'settings.image_size',
        'note',
        f'image_size {list(model.image_size)} (height, width) is not a multiple of {stride}, so '
        'anchors of the coarse levels are centred on fractions of a pixel',
        f'no change is needed; {nearest} avoids it',
        numbers={'image_size': list(model.image_size), 'stride': stride},
    )


def _freeze(train, weights):
    if weights is not None or not train.freeze:
        return None
    return Finding(
        'settings.freeze',
        'warning',
        f'layers that match {list(train.freeze)} are frozen, but training starts from random '
        'values: they will stay random',
        'start from trained weights, for example --weights=imagenet, or remove freeze',
        numbers={'freeze': list(train.freeze)},
    )


def _initial_weights(config, weights):
    if weights is None or (isinstance(weights, str) and weights == 'imagenet'):
        return None
    try:
        count = class_count(weights, config.model)
    except CheckpointError as error:
        return Finding('weights.unreadable', 'error', str(error), 'check the path of the weights')
    if count in (None, config.model.num_classes):
        return None
    return Finding(
        'weights.classes',
        'note',
        f'the weights predict {count} classes, the configuration has {config.model.num_classes}',
        'no change is needed in `fit`, which re-initialises the class prediction and loads all '
        "other weights; elsewhere pass on_class_mismatch='reinit' to `efficientdet`",
        numbers={'in_weights': count, 'num_classes': config.model.num_classes},
    )
