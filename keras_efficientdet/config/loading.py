"""Named configurations, yaml files and overrides -> a Config."""

import dataclasses
import difflib
import os
import pathlib
import typing
from collections.abc import Mapping, Sequence

import yaml

from keras_efficientdet.config.rules import check, rule_of
from keras_efficientdet.config.schema import PRESETS, SECTIONS, Config
from keras_efficientdet.config.values import convert
from keras_efficientdet.errors import ConfigError

HPARAMS = pathlib.Path(__file__).resolve().parents[1] / 'hparams'
_YAML = ('.yaml', '.yml')
_FIELDS = {name: {f.name: f for f in dataclasses.fields(cls)} for name, cls in SECTIONS.items()}
_TYPES = {name: typing.get_type_hints(cls) for name, cls in SECTIONS.items()}
_SECTION_OF = {name: section for section, fields in _FIELDS.items() for name in fields}

Override = Mapping | str | os.PathLike


def model_names(family: str | None = None) -> list[str]:
    """The names of the models that `load_config` takes, sorted.

    Args:
      family: 'efficientdet', 'efficientnet' or 'centernet'; None: all.
    """
    pattern = f'{family}-*.yaml' if family else '*.yaml'
    return sorted(p.stem for p in HPARAMS.glob(pattern))


def load_config(
    name_or_yaml: str | os.PathLike | Config = 'efficientdet-d0',
    overrides: Override | Sequence[Override] = (),
) -> Config:
    """Returns the Config of a model, with overrides applied in their order.

    Args:
      name_or_yaml: a name like 'efficientdet-d0' (`model_names` lists them), a Config to start
        from, or the path of a yaml file. A file holds only what differs from the model named by
        its key `base`; without `base` it differs from the defaults.
      overrides: one of the following or a sequence of them: a dict, whose keys are nested
        ({'train': {'seed': 1}}), dotted ('train.seed') or plain ('seed'); a text 'key=value' with
        the value in yaml; the path of a yaml file. 'detect=fast' sets the whole section `detect`
        to a preset.
    Raises:
      ConfigError: an unknown model, preset or key (the message suggests the nearest one), a value
        of the wrong type or outside of the range or choices of its key, or values of several keys
        that contradict each other.
    """
    config = name_or_yaml if isinstance(name_or_yaml, Config) else _from_yaml(_find(name_or_yaml))
    if isinstance(overrides, Mapping | str | os.PathLike):
        overrides = [overrides]
    for override in overrides:
        config = _apply(config, _as_dict(override))
    return check_config(config)


def check_config(config: Config) -> Config:
    """Returns `config` after the checks that need more than one key. Raises ConfigError."""
    model, data = config.model, config.data
    if model.label_map is not None and len(model.label_map) != model.num_classes:
        raise ConfigError(
            f'label_map has {len(model.label_map)} classes but num_classes is {model.num_classes}; '
            'set both, num_classes to the number of classes in label_map'
        )
    levels = model.max_level - model.min_level + 1
    if isinstance(model.anchor_scale, tuple) and len(model.anchor_scale) != levels:
        raise ConfigError(
            f'anchor_scale must be one number or one for each of the {levels} levels '
            f'{model.min_level} to {model.max_level}, found {model.anchor_scale}'
        )
    if model.resize == 'crop' and model.head != 'classification':
        raise ConfigError(
            f"resize='crop' cuts off the edges of images, and the head {model.head!r} has to find "
            "objects there; use 'pad'"
        )
    if data.jitter_min > data.jitter_max:
        raise ConfigError(
            f'jitter_min must not be above jitter_max, found {data.jitter_min} and '
            f'{data.jitter_max}; set both'
        )
    return config


def _find(name):
    path = pathlib.Path(name)
    if path.suffix in _YAML:
        if not path.is_file():
            raise ConfigError(f'no such configuration file: {path}')
        return path
    if str(name) not in model_names():
        raise ConfigError(f'unknown model {str(name)!r}{_nearest(str(name), model_names())}')
    return HPARAMS / f'{name}.yaml'


def _read_yaml(path):
    loaded = yaml.safe_load(pathlib.Path(path).read_text(encoding='utf-8')) or {}
    if not isinstance(loaded, dict):
        raise ConfigError(f'{path}: expected keys and values, found a {type(loaded).__name__}')
    return loaded


def _from_yaml(path):
    values = _read_yaml(path)
    base = values.pop('base', None)
    start = _from_yaml(_find(base)) if base else Config()
    return _apply(start, values)


def _as_dict(override):
    """{key: value} of any form of an override."""
    if isinstance(override, Mapping):
        return override
    if not isinstance(override, str) or _is_path(override):
        return _read_yaml(_find(override))
    key, _, text = override.partition('=')
    return {key.strip(): yaml.safe_load(text)}


def _is_path(text):
    """Whether a text is a path and not key=value. A path may hold '=', like run=3/mine.yaml."""
    key, equals, _ = text.partition('=')
    if not equals:
        return True
    is_key = key.strip().rpartition('.')[2] in {*_SECTION_OF, *SECTIONS}
    return text.endswith(_YAML) and (pathlib.Path(text).is_file() or not is_key)


def _apply(config, values):
    for key, value in values.items():
        key = str(key)
        if key == 'detect' and isinstance(value, str):
            value = _preset(value)
        if key in SECTIONS and isinstance(value, Mapping):
            config = _apply(config, {f'{key}.{k}': v for k, v in value.items()})
        else:
            config = _set(config, key, value)
    return config


def _set(config, key, value):
    """A copy of `config` with one key set; its value is converted to the key's type and checked."""
    section, name = _locate(key)
    rule = rule_of(_FIELDS[section][name])
    full_name = f'{section}.{name}'
    if rule.read is not None:
        value = rule.read(value)
    else:
        value = convert(full_name, value, _TYPES[section][name])
    check(full_name, value, rule)
    changed = dataclasses.replace(getattr(config, section), **{name: value})
    return dataclasses.replace(config, **{section: changed})


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
    """The end of a message: the nearest valid name, or all of them where none is near."""
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    if not close:
        return f'; valid: {", ".join(valid)}'
    name = close[0]
    if name in _SECTION_OF:
        name = f'{_SECTION_OF[name]}.{name}'
    return f'; did you mean {name}?'
