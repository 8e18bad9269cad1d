"""Named configurations, yaml files and overrides -> a Config."""

import dataclasses
import difflib
import pathlib
import typing

import yaml

from keras_efficientdet.config.schema import (
    AUTOAUGMENT_POLICIES,
    NMS_METHODS,
    PRECISIONS,
    PRESETS,
    SECTIONS,
    Config,
)
from keras_efficientdet.config.values import convert
from keras_efficientdet.errors import ConfigError

HPARAMS = pathlib.Path(__file__).resolve().parents[1] / 'hparams'
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
        raise ConfigError(
            f'label_map has {len(labels)} classes but num_classes is {config.model.num_classes}; '
            "set both (the data set's own ids go into label_map, num_classes counts them)"
        )
    if not 1 <= config.model.min_level <= 5 <= config.model.max_level:
        raise ConfigError(
            'levels must satisfy 1 <= min_level <= 5 <= max_level, found '
            f'{config.model.min_level} to {config.model.max_level}'
        )
    _check_augmentation(config.data)
    _check_detection(config.detect)
    if config.train.mixed_precision not in PRECISIONS:
        raise ConfigError(
            f'mixed_precision {config.train.mixed_precision!r}: expected one of {PRECISIONS}'
        )
    return config


def _check_augmentation(data):
    if data.autoaugment_policy not in (None, *AUTOAUGMENT_POLICIES):
        raise ConfigError(
            f'autoaugment_policy must be one of {", ".join(AUTOAUGMENT_POLICIES)} or null, found '
            f'{data.autoaugment_policy!r}'
        )
    for key in ('color_jitter', 'mosaic_prob', 'mixup_prob'):
        if not 0.0 <= getattr(data, key) <= 1.0:
            raise ConfigError(f'{key} must lie between 0 and 1, found {getattr(data, key)}')


def _check_detection(detect):
    if detect.method not in NMS_METHODS:
        raise ConfigError(
            f'method of NMS must be one of {", ".join(NMS_METHODS)}, found {detect.method!r}'
        )
    if not detect.sigma > 0.0:
        raise ConfigError(f'sigma of NMS must be above 0, found {detect.sigma}')
    if detect.max_output_size < 1 or detect.max_nms_inputs < 0:
        raise ConfigError(
            'max_output_size must be 1 or more and max_nms_inputs 0 or more, found '
            f'{detect.max_output_size} and {detect.max_nms_inputs}'
        )


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
        changed = dataclasses.replace(
            part, **{name: convert(key, value, typing.get_type_hints(type(part))[name])}
        )
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
    return (
        f'; did you mean {_SECTION_OF.get(close[0], "")}{"." if close[0] in _SECTION_OF else ""}{close[0]}?'
        if close
        else f'; valid: {", ".join(valid)}'
    )
