"""One configuration for a detector, its data, its training and its detections.

Field names are the official ones wherever google/automl has the knob, and are unique over the sections,
so `train.learning_rate=0.01` and `learning_rate=0.01` say the same thing.
"""
import dataclasses
import difflib
import pathlib
import typing

import yaml

from keras_efficientdet.config.values import ConfigError, convert, plain

HPARAMS = pathlib.Path(__file__).resolve().parents[1] / 'hparams'

AUTOAUGMENT_POLICIES = ('v0', 'v1', 'v2', 'v3', 'randaug')


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network and what its weights were trained to expect."""
    name: str = 'efficientdet-d0'
    backbone_name: str = 'efficientnet-b0'
    image_size: tuple[int, int] = (512, 512)         # (height, width); one int in a file means square
    num_classes: int = 90                            # without background; class ids inside are 0..num_classes-1
    label_map: dict | None = None                    # {the data set's own id: name} in class order; None: ids 1..num_classes
    mean_rgb: tuple[float, ...] = (0.485 * 255, 0.456 * 255, 0.406 * 255)
    stddev_rgb: tuple[float, ...] = (0.229 * 255, 0.224 * 255, 0.225 * 255)
    act_type: str = 'swish'
    min_level: int = 3
    max_level: int = 7
    fpn_name: str = 'bifpn'
    fpn_num_filters: int = 64
    fpn_cell_repeats: int = 3
    fpn_weight_method: str = 'fastattn'
    box_class_repeats: int = 3
    separable_conv: bool = True
    apply_bn_for_resampling: bool = True
    conv_bn_act_pattern: bool = False
    survival_prob: float | None = None               # None: 0.8 in the backbone (off for B0), none in the heads
    num_scales: int = 3
    aspect_ratios: tuple = (1.0, 2.0, 0.5)           # a ratio width/height, or a pair of (x, y) multipliers
    anchor_scale: float | tuple = 4.0                # one for all levels, or one per level


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Augmentation and bookkeeping of the input pipeline."""
    input_rand_hflip: bool = True
    jitter_min: float = 0.1                          # scale jitter; 1.0 and 1.0 switch it off
    jitter_max: float = 2.0
    autoaugment_policy: str | None = None            # 'v0' to 'v3' or 'randaug'
    grid_mask: bool = False
    input_rand_vflip: bool = False                   # for pictures without an upside: microscopes, cameras in the air
    color_jitter: float = 0.0                        # brightness, contrast, saturation times 1 +- this; 0 switches it off
    mosaic_prob: float = 0.0                         # of a picture to become one of four
    mixup_prob: float = 0.0                          # of a picture to be blended with another
    skip_crowd_during_training: bool = True
    shuffle_buffer: int = 1024                       # examples, still encoded
    data_service: str | None = None                  # 'grpc://host:port' of a tf.data service that reads and augments


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Optimisation. The defaults are the official ones but for `batch_norm_ramp` (docs/DIFFERENCES.md)."""
    batch_size: int = 64                             # over all replicas
    num_epochs: int = 300
    optimizer: str = 'sgd'
    learning_rate: float = 0.08                      # per 64 images: scaled by batch_size / 64
    lr_warmup_init: float = 0.008
    lr_warmup_epoch: float = 1.0
    lr_decay_method: str = 'cosine'
    first_lr_drop_epoch: float = 200.0
    second_lr_drop_epoch: float = 250.0
    poly_lr_power: float = 0.9
    momentum: float = 0.9
    weight_decay: float = 4e-5
    clip_gradients_norm: float = 10.0
    moving_average_decay: float = 0.9998             # 0: no moving average of the weights
    batch_norm_ramp: bool = True                     # momentum min(0.99, (1+t)/(10+t)); False: the official constant
    alpha: float = 0.25
    gamma: float = 1.5
    label_smoothing: float = 0.0
    delta: float = 0.1
    box_loss_weight: float = 50.0
    iou_loss_type: str | None = None                 # 'iou', 'giou', 'diou' or 'ciou', added to the box loss
    iou_loss_weight: float = 1.0
    steps_per_execution: int = 1                     # steps in one call of the compiled function
    freeze: tuple[str, ...] | None = None            # name parts or regular expressions: layers that do not train
    accumulation_steps: int = 1                      # parts of a batch that go through the network one after the other
    mixed_precision: str | None = None               # 'mixed_float16' or 'mixed_bfloat16', Keras' own names
    recompute: bool = False                          # gradient checkpointing: a forward more, about half the memory
    jit_compile: bool = False                        # the train step through XLA
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class DetectConfig:
    """Post-processing; the official name of this section is `nms_configs`."""
    method: str = 'gaussian'                         # 'gaussian' soft NMS or 'hard'
    iou_thresh: float = 0.5                          # hard NMS only
    sigma: float = 0.5                               # gaussian only; the paper's sigma
    score_thresh: float = 0.001
    per_class: bool = True                           # False: classes suppress one another
    max_nms_inputs: int = 5000                       # best (anchor, class) pairs that enter NMS; 0: best class of each anchor
    max_output_size: int = 100


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a configuration was published to reach; never read by the code, checked by tests."""
    val_ap: float | None = None                      # COCO val2017
    trainable_params: int | None = None
    gflops: float | None = None


@dataclasses.dataclass(frozen=True)
class Config:
    """All sections. Change a copy with `load_config(config, overrides)`."""
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    detect: DetectConfig = DetectConfig()
    expected: Expected = Expected()

    def to_dict(self):
        """Plain nested dict of builtin types, fit for yaml and json."""
        return plain(dataclasses.asdict(self))


PRESETS = {     # of the section `detect`: load_config(name, 'detect=fast')
    'official_eval': dataclasses.asdict(DetectConfig()),      # how the published figures were evaluated
    'fast': {**dataclasses.asdict(DetectConfig()), 'method': 'hard', 'score_thresh': 0.05, 'max_nms_inputs': 500},
}
NMS_METHODS = ('gaussian', 'hard', 'linear', 'diou')          # the last two: numpy_nms alone
PRECISIONS = (None, 'mixed_float16', 'mixed_bfloat16')
SECTIONS = {field.name: field.type for field in dataclasses.fields(Config)}
_SECTION_OF = {f.name: s for s, cls in SECTIONS.items() for f in dataclasses.fields(cls)}


def model_names():
    """Names that `load_config` knows, sorted."""
    return sorted(p.stem for p in HPARAMS.glob('*.yaml'))


def load_config(name_or_yaml='efficientdet-d0', overrides=()):
    """Returns the Config of a named model or of a yaml file, with overrides applied in order.

    Args:
      name_or_yaml: 'efficientdet-d0', a path to a yaml file of differences (its key `base` names the model it
        starts from), or a Config.
      overrides: a dict (nested, dotted or flat keys), one 'key=value' string, a path to a yaml file, or a sequence of these.
        'detect=fast' sets the whole section from PRESETS.
    Raises:
      ConfigError: unknown model, preset or key (the nearest valid one is named), or a value of the wrong type.
    """
    config = name_or_yaml if isinstance(name_or_yaml, Config) else _from_yaml(_find(name_or_yaml))
    if isinstance(overrides, (dict, str, pathlib.Path)):
        overrides = [overrides]
    for override in overrides:
        config = _apply(config, _as_dict(override))
    return check_config(config)


def check_config(config):
    """Returns `config` after the checks that need more than one field. Raises ConfigError."""
    labels = config.model.label_map
    if labels is not None and len(labels) != config.model.num_classes:
        raise ConfigError(f'label_map has {len(labels)} classes but num_classes is {config.model.num_classes}; '
                          'set both (the data set\'s own ids go into label_map, num_classes counts them)')
    if not 1 <= config.model.min_level <= 5 <= config.model.max_level:
        raise ConfigError('levels must satisfy 1 <= min_level <= 5 <= max_level, found '
                          f'{config.model.min_level} to {config.model.max_level}')
    _check_augmentation(config.data)
    _check_detection(config.detect)
    if config.train.mixed_precision not in PRECISIONS:
        raise ConfigError(f'mixed_precision {config.train.mixed_precision!r}: expected one of {PRECISIONS}')
    return config


def _check_augmentation(data):
    if data.autoaugment_policy not in (None, *AUTOAUGMENT_POLICIES):
        raise ConfigError(f'autoaugment_policy must be one of {", ".join(AUTOAUGMENT_POLICIES)} or null, found '
                          f'{data.autoaugment_policy!r}')
    for key in ('color_jitter', 'mosaic_prob', 'mixup_prob'):
        if not 0. <= getattr(data, key) <= 1.:
            raise ConfigError(f'{key} must lie between 0 and 1, found {getattr(data, key)}')


def _check_detection(detect):
    if detect.method not in NMS_METHODS:
        raise ConfigError(f'method of NMS must be one of {", ".join(NMS_METHODS)}, found {detect.method!r}')
    if not detect.sigma > 0.:
        raise ConfigError(f'sigma of NMS must be above 0, found {detect.sigma}')
    if detect.max_output_size < 1 or detect.max_nms_inputs < 0:
        raise ConfigError('max_output_size must be 1 or more and max_nms_inputs 0 or more, found '
                          f'{detect.max_output_size} and {detect.max_nms_inputs}')


def class_ids(model_config):
    """The data set's own id of each class, in class order: a tuple of num_classes ints."""
    return tuple(model_config.label_map or range(1, model_config.num_classes + 1))


def class_names(model_config):
    """The name of each class, in class order; the id as text where no label_map is set."""
    labels = model_config.label_map or {i: str(i) for i in class_ids(model_config)}
    return tuple(labels.values())


def _find(name):
    path = pathlib.Path(name)
    if path.suffix in ('.yaml', '.yml'):
        if not path.is_file():
            raise ConfigError(f'no such configuration file: {path}')
        return path
    if str(name) not in model_names():
        raise ConfigError(f'unknown model {str(name)!r}{_nearest(str(name), model_names())}')
    return HPARAMS / f'{name}.yaml'


def _read_yaml(path):
    loaded = yaml.safe_load(pathlib.Path(path).read_text()) or {}
    if not isinstance(loaded, dict):
        raise ConfigError(f'{path}: expected keys and values, found a {type(loaded).__name__}')
    return loaded


def _from_yaml(path):
    values = _read_yaml(path)
    base = values.pop('base', None)
    return _apply(_from_yaml(_find(base)) if base else Config(), values)


def _as_dict(override):
    if isinstance(override, dict):
        return override
    if '=' in str(override):
        key, _, text = str(override).partition('=')
        return {key.strip(): yaml.safe_load(text)}
    return _read_yaml(_find(override))


def _apply(config, values):
    for key, value in values.items():
        key = str(key)
        if key == 'detect' and isinstance(value, str):
            value = _preset(value)
        if key in SECTIONS and isinstance(value, dict):
            config = _apply(config, {f'{key}.{k}': v for k, v in value.items()})
            continue
        section, name = _locate(key)
        part = getattr(config, section)
        changed = dataclasses.replace(part, **{name: convert(key, value, typing.get_type_hints(type(part))[name])})
        config = dataclasses.replace(config, **{section: changed})
    return config


def _preset(name):
    if name not in PRESETS:
        raise ConfigError(f'unknown preset {name!r} of detect; valid: {", ".join(PRESETS)}')
    return PRESETS[name]


def _locate(key):
    """'train.learning_rate' or 'learning_rate' -> ('train', 'learning_rate')."""
    section, _, name = key.rpartition('.')
    section = section or _SECTION_OF.get(name, '')
    if _SECTION_OF.get(name) != section:
        raise ConfigError(f'unknown key {key!r}{_nearest(name, _SECTION_OF)}')
    return section, name


def _nearest(name, valid):
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return f'; did you mean {_SECTION_OF.get(close[0], "")}{"." if close[0] in _SECTION_OF else ""}{close[0]}?' if close \
        else f'; valid: {", ".join(valid)}'
