"""Configurations written for google/automl -> overrides for `load_config`."""

import ast
import difflib
import os
import pathlib
import typing
from collections.abc import Mapping

import yaml

from keras_efficientdet.config.label_maps import LABEL_MAPS
from keras_efficientdet.config.schema import SECTIONS, DetectConfig
from keras_efficientdet.errors import ConfigError

OFFICIAL_CLASSES = 90  # where a configuration gives no num_classes
OFFICIAL_MASK_CLASSES = 3  # where it gives no seg_num_classes

_MATCHING = 'boxes are matched image by image, nothing needs it'
_PROGRAMS = 'belongs to the official programs, not to the model'
# Official keys without a counterpart in this library: {key: the reason, or what to use instead}.
LEFT_OUT = {
    'target_size': 'the jitter of this library scales to image_size',
    'sample_image': _PROGRAMS,
    'map_freq': 'use evaluate_every of `fit`',
    'max_instances_per_image': _MATCHING,
    'regenerate_source_id': 'image ids come from the records',
    'is_training_bn': 'Keras decides by `training`',
    'data_format': 'channels are last everywhere',
    'scale_range': 'use mean_rgb and stddev_rgb',
    'strategy': 'use efficientdet train --strategy',
    'mixed_precision': 'use the name mixed_float16 or mixed_bfloat16',
    'loss_scale': 'with float16 the loss is scaled automatically',
    'conv_after_downsample': 'no published model uses it',
    'drop_remainder': 'training drops the last partial batch, evaluation never does',
    'pyfunc': 'use `numpy_nms.detect_batch` (efficientdet evaluate --numpy_nms)',
    'tflite_max_detections': 'use max_output_size',
    'fpn_config': 'use fpn_name and fpn_weight_method',
    'img_summary_steps': _PROGRAMS,
    'ckpt_var_scope': _PROGRAMS,
    'skip_mismatch': 'weights load completely or not at all',
    'backbone_config': 'use backbone_name',
    'use_keras_model': 'every model is a Keras model',
    'dataset_type': _PROGRAMS,
    'positives_momentum': 'officially a bug (docs/DIFFERENCES.md)',
    'verbose': _PROGRAMS,
    'save_freq': 'weights are written after each evaluation',
}
# {official key: our key}, where the names differ.
_RENAMED = {'var_freeze_expr': 'freeze', 'grad_checkpoint': 'recompute', 'heads': 'head'}

_OURS = {name for section in SECTIONS.values() for name in section.__dataclass_fields__}
_DETECT = {name: field.default for name, field in DetectConfig.__dataclass_fields__.items()}
# `nms_configs` is our section `detect`, and `pyfunc` a key of it.
_VALID = (_OURS - set(_DETECT) | set(LEFT_OUT) | set(_RENAMED)) - {'pyfunc'}
# Defaults of methods that only the official numpy NMS has, where they differ from ours.
_NUMPY_ONLY = {'linear': {'iou_thresh': 0.3}}
_VALID_NMS = (set(_DETECT) | {'pyfunc'}) - {'per_class'}


class Converted(typing.NamedTuple):
    """What `from_official` returns."""

    overrides: dict  # for `load_config`
    left_out: dict  # {official key: why it was left out}


def from_official(hparams: str | os.PathLike | Mapping) -> Converted:
    """Translates a configuration of google/automl. Keys without a counterpart are reported.

    Args:
      hparams: a text 'a=1,b.c=2' with arrays as x*y, the path of an official yaml file, or a dict.
    Returns:
      Converted. An image size given as text is read as WIDTHxHEIGHT, like google/automl does. A
      label_map is completed to one class for every id from 1 to num_classes (90 by default), so
      that official weights fit; an id without a name is named by its number. Without
      max_nms_inputs it is 0, as officially: one class for each anchor enters NMS. (The official
      evaluation alone sets 5000, the default of `load_config`.) A segmentation without
      seg_num_classes has 3, as officially.
    Raises:
      ConfigError: an unknown key (the message suggests the nearest one), text that is neither
        key=value nor a yaml file, a label_map with ids above num_classes, or unknown heads.
    Source: google/automl hparams_config.Config.override.
    """
    values = dict(hparams) if isinstance(hparams, Mapping) else _read(str(hparams).strip())
    nms = values.pop('nms_configs', {})
    if not isinstance(nms, Mapping):
        raise ConfigError(f'nms_configs must have keys, like nms_configs.method, found {nms!r}')
    _check_keys(values, _VALID)
    _check_keys(nms, _VALID_NMS)
    overrides = {**_overrides(values), 'detect': _detect(nms)}
    left_out = {key: LEFT_OUT[key] for key in (*values, *nms) if key in LEFT_OUT}
    return Converted(overrides, left_out)


def _overrides(values):
    """All but `nms_configs`."""
    overrides = {}
    for key, value in values.items():
        if key not in LEFT_OUT:
            convert = _CONVERT.get(key)
            overrides[_RENAMED.get(key, key)] = convert(value) if convert else value
    if 'segmentation' in overrides.get('head', ''):
        overrides.setdefault('seg_num_classes', OFFICIAL_MASK_CLASSES)
    if overrides.get('label_map') is not None:
        count = overrides.get('num_classes', OFFICIAL_CLASSES)
        overrides['label_map'] = _label_map(overrides['label_map'], count)
    return overrides


def parse(text: str) -> dict:
    """The official text form -> nested dict.

    'a=1,b.c=2,d=1*2' gives {'a': 1, 'b': {'c': 2}, 'd': [1, 2]}.
    """
    values = {}
    for pair in text.split(','):
        pair = pair.strip()
        if not pair:
            continue
        key, *value = (part.strip() for part in pair.split('='))
        if len(value) != 1:
            raise ConfigError(f'{pair!r}: expected key=value')
        *sections, name = key.split('.')
        place = values
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = _value_or_array(value[0])
    return values


def _value_or_array(text):
    return [_value(part) for part in text.split('*')] if '*' in text else _value(text)


def _value(text):
    """A Python literal, true or false; anything else is text."""
    if text in ('true', 'false'):
        return text == 'true'
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _read(text):
    path = pathlib.Path(text)
    if path.suffix not in ('.yaml', '.yml') or ('=' in text and not path.is_file()):
        return parse(text)
    if not path.is_file():
        raise ConfigError(f'no such configuration file: {text}')
    values = yaml.safe_load(path.read_text(encoding='utf-8')) or {}
    if not isinstance(values, dict):
        raise ConfigError(f'{text}: expected keys and values, found a {type(values).__name__}')
    return values


def _check_keys(values, valid):
    for key in values:
        if key not in valid:
            close = difflib.get_close_matches(str(key), valid, n=1, cutoff=0.5)
            hint = f'did you mean {close[0]}?' if close else f'valid: {", ".join(sorted(valid))}'
            raise ConfigError(f'unknown official key {key!r}; {hint}')


def _image_size(value):
    """[height, width] of the official text WIDTHxHEIGHT; `load_config` checks anything else."""
    if isinstance(value, str):
        width, _, height = value.lower().partition('x')
        if width.isdigit() and height.isdigit():
            return [int(height), int(width)]
    return value


def _three(value):
    """One number stands for all three channels."""
    return [float(value)] * 3 if isinstance(value, int | float) else value


def _freeze(pattern):
    """Officially for re.match, at the start of a name; `freeze` is for re.search, anywhere."""
    return [rf'\A(?:{pattern})'] if pattern else None


def _pyramid(name):
    """The default and its dynamic form build the same graph."""
    return 'bifpn' if name in (None, 'bifpn_dyn') else name


def _head(names):
    """The head that has all of the official `heads`."""
    names = [names] if isinstance(names, str) else names or ['object_detection']
    wanted = frozenset(names)
    if wanted not in _HEADS:
        raise ConfigError(
            f'heads must be object_detection, segmentation, or both, found {list(names)}'
        )
    return _HEADS[wanted]


_HEADS = {
    frozenset({'object_detection'}): 'anchor',
    frozenset({'segmentation'}): 'segmentation',
    frozenset({'object_detection', 'segmentation'}): 'anchor+segmentation',
}
_CONVERT = {  # {official key: what makes our value of an official one}
    'image_size': _image_size,
    'mean_rgb': _three,
    'stddev_rgb': _three,
    'label_map': lambda value: None if value == 'none' else value,
    'var_freeze_expr': _freeze,
    'fpn_name': _pyramid,
    'heads': _head,
    'fpn_weight_method': lambda value: value or 'fastattn',
}


def _label_map(labels, count):
    """{id: name} with every id from 1 to `count`."""
    if isinstance(labels, str) and labels not in LABEL_MAPS:
        raise ConfigError(
            f'unknown label_map {labels!r}; valid: {", ".join(LABEL_MAPS)}, or ids and names'
        )
    names = LABEL_MAPS[labels] if isinstance(labels, str) else labels
    fits = isinstance(names, Mapping) and all(_is_id(i, count) for i in names)
    if not fits:
        raise ConfigError(
            f'label_map must map ids from 1 to num_classes ({count}) to names, found {labels!r}'
        )
    names = {int(i): name for i, name in names.items()}
    return {i: names.get(i, str(i)) for i in range(1, count + 1)}


def _is_id(value, count):
    return str(value).isdigit() and 1 <= int(value) <= count


def _detect(nms):
    """The section `detect` of `nms_configs`.

    Officially an unset threshold is None or 0, and its meaning depends on the method.
    """
    detect, of_method = {'max_nms_inputs': 0}, _NUMPY_ONLY.get(nms.get('method'), {})
    usual = {**_DETECT, **detect, **of_method}
    for key, value in {**of_method, **nms}.items():
        if key not in LEFT_OUT:
            unset = value is None or (key in ('iou_thresh', 'sigma') and not value)
            detect[key] = usual[key] if unset else value
    if 'method' in nms:
        detect['method'] = nms['method'] or 'hard'
    if not detect.get('score_thresh') and {'method', 'score_thresh'} & set(nms):
        hard = detect.get('method') == 'hard'
        detect['score_thresh'] = 0.0 if hard else _DETECT['score_thresh']
    return detect
