"""Configurations written for google/automl -> overrides for `load_config`."""

import ast
import difflib
import pathlib
import typing

import yaml

from keras_efficientdet.config import SECTIONS, DetectConfig
from keras_efficientdet.config.label_maps import LABEL_MAPS
from keras_efficientdet.errors import ConfigError

OFFICIAL_CLASSES = 90  # where a configuration does not say
_OURS = {name for section in SECTIONS.values() for name in section.__dataclass_fields__}
_DETECT = {name: field.default for name, field in DetectConfig.__dataclass_fields__.items()}
_PREPARED = 'boxes are matched one picture at a time, nothing needs it'
_RUN = 'belongs to the official programs, not to the model'
LEFT_OUT = {  # official keys that have no counterpart here, and why
    'target_size': 'the jitter of this library scales to image_size',
    'sample_image': _RUN,
    'map_freq': 'use evaluate_every of `fit`',
    'seg_num_classes': 'there is no segmentation head',
    'heads': 'there is the detection head alone',
    'max_instances_per_image': _PREPARED,
    'regenerate_source_id': 'image ids come from the records',
    'is_training_bn': 'Keras decides by `training`',
    'data_format': 'channels last everywhere',
    'scale_range': 'use mean_rgb and stddev_rgb',
    'strategy': 'use efficientdet train --strategy',
    'mixed_precision': 'name it, mixed_float16 or mixed_bfloat16',
    'loss_scale': 'float16 scales its loss by itself',
    'conv_after_downsample': 'no published model has it',
    'drop_remainder': 'training drops it, evaluation never does',
    'pyfunc': 'use `numpy_nms.detect_batch` (efficientdet evaluate --numpy_nms)',
    'tflite_max_detections': 'use max_output_size',
    'fpn_config': 'use fpn_name and fpn_weight_method',
    'img_summary_steps': _RUN,
    'ckpt_var_scope': _RUN,
    'skip_mismatch': 'weights load completely or not at all',
    'backbone_config': 'use backbone_name',
    'use_keras_model': 'always',
    'dataset_type': _RUN,
    'positives_momentum': 'a bug officially (docs/DIFFERENCES.md)',
    'verbose': _RUN,
    'save_freq': 'weights are written after each evaluation',
}


class Converted(typing.NamedTuple):
    """`overrides` for `load_config`, and {official key: why it was left out}."""

    overrides: dict
    left_out: dict


def from_official(hparams):
    """Translates official hparams. Nothing is dropped without a word: what has no counterpart stands in `left_out`.

    Args:
      hparams: 'a=1,b.c=2' with arrays as x*y, the path of an official yaml file, or a dict.
    Returns:
      Converted. An image size as text is WIDTHxHEIGHT, as officially. A label_map gets a class for every id from 1 to
      num_classes (officially 90 where nothing is said), so that official weights fit; ids without a name are their own.
    Raises:
      ConfigError: unknown key (the nearest is named), text that is neither key=value nor a yaml file, a label_map of more
      ids than classes, a head that this library does not have.
    Source: google/automl hparams_config.Config.override.
    """
    values = dict(hparams) if isinstance(hparams, dict) else _read(str(hparams).strip())
    if not isinstance(values.get('nms_configs', {}), dict):
        raise ConfigError(
            f'nms_configs must have keys, like nms_configs.method, found {values["nms_configs"]!r}'
        )
    nms = values.pop('nms_configs', {})
    _check_keys(values, {*_OURS - {*_DETECT}, *LEFT_OUT, *_RENAMED} - {'pyfunc'})
    _check_keys(nms, {*_DETECT, 'pyfunc'} - {'per_class'})
    if 'segmentation' in (values.get('heads') or ()):
        raise ConfigError('heads: there is no segmentation head')
    overrides = {
        _RENAMED.get(key, key): _CONVERT.get(key, lambda v: v)(value)
        for key, value in values.items()
        if key not in LEFT_OUT
    }
    if overrides.get('label_map') is not None:
        overrides['label_map'] = _label_map(
            overrides['label_map'], overrides.get('num_classes', OFFICIAL_CLASSES)
        )
    if detect := _detect(nms):
        overrides['detect'] = detect
    return Converted(overrides, {key: LEFT_OUT[key] for key in (*values, *nms) if key in LEFT_OUT})


def parse(text):
    """The official text form -> nested dict. 'a=1,b.c=2,d=1*2' gives {'a': 1, 'b': {'c': 2}, 'd': [1, 2]}."""
    values = {}
    for pair in filter(None, (part.strip() for part in text.split(','))):
        key, *value = (part.strip() for part in pair.split('='))
        if len(value) != 1:
            raise ConfigError(f'{pair!r}: expected key=value')
        *folders, name = key.split('.')
        place = values
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = (
            [_value(v) for v in value[0].split('*')] if '*' in value[0] else _value(value[0])
        )
    return values


def _value(text):
    """A Python literal, true or false, or else text."""
    if text in ('true', 'false'):
        return text == 'true'
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _read(text):
    if text.endswith(('.yaml', '.yml')) and '=' not in text:
        if not pathlib.Path(text).is_file():
            raise ConfigError(f'no such configuration file: {text}')
        values = yaml.safe_load(pathlib.Path(text).read_text()) or {}
        if not isinstance(values, dict):
            raise ConfigError(f'{text}: expected keys and values, found a {type(values).__name__}')
        return values
    return parse(text)


def _check_keys(values, valid):
    for key in values:
        if key not in valid:
            close = difflib.get_close_matches(str(key), valid, n=1, cutoff=0.5)
            hint = f'did you mean {close[0]}?' if close else f'valid: {", ".join(sorted(valid))}'
            raise ConfigError(f'unknown official key {key!r}; {hint}')


def _image_size(value):
    """[height, width] of the official WIDTHxHEIGHT; anything else is left to `load_config`."""
    width, _, height = value.lower().partition('x') if isinstance(value, str) else ('', '', '')
    return [int(height), int(width)] if width.isdigit() and height.isdigit() else value


def _three(value):
    return [float(value)] * 3 if isinstance(value, int | float) else value


def _label_map(labels, count):
    if isinstance(labels, str) and labels not in LABEL_MAPS:
        raise ConfigError(
            f'unknown label_map {labels!r}; valid: {", ".join(LABEL_MAPS)}, or ids and names'
        )
    names = LABEL_MAPS[labels] if isinstance(labels, str) else labels
    if not isinstance(names, dict) or any(
        not str(i).isdigit() or not 1 <= int(i) <= count for i in names
    ):
        raise ConfigError(
            f'label_map must map ids from 1 to num_classes ({count}) to names, found {labels!r}'
        )
    names = {int(i): name for i, name in names.items()}
    return {i: names.get(i, str(i)) for i in range(1, count + 1)}


def _detect(nms):
    """Unset thresholds are None or 0 officially, and mean what the method makes of them."""
    unset = {
        key
        for key, value in nms.items()
        if value is None or (key in ('iou_thresh', 'sigma') and not value)
    }
    detect = {
        key: _DETECT[key] if key in unset else value
        for key, value in nms.items()
        if key not in LEFT_OUT
    }
    if 'method' in nms:
        detect['method'] = nms['method'] or 'hard'
    if not detect.get('score_thresh') and {'method', 'score_thresh'} & set(nms):
        detect['score_thresh'] = 0.0 if detect.get('method') == 'hard' else _DETECT['score_thresh']
    return detect


_RENAMED = {'var_freeze_expr': 'freeze', 'grad_checkpoint': 'recompute'}
_CONVERT = {
    'image_size': _image_size,
    'mean_rgb': _three,
    'stddev_rgb': _three,
    'label_map': lambda v: None if v == 'none' else v,
    'var_freeze_expr': lambda v: (
        [rf'\A(?:{v})'] if v else None
    ),  # officially re.match: at the start of the name
    'fpn_name': lambda v: 'bifpn' if v in (None, 'bifpn_dyn') else v,
    'fpn_weight_method': lambda v: v or 'fastattn',
}
