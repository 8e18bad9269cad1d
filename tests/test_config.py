"""Configurations: fifteen detectors, every way to write an override, and errors that help."""

import collections
import dataclasses
import json
import pathlib

import pytest
import yaml

from keras_efficientdet.config import (
    HPARAMS,
    SECTIONS,
    Config,
    class_ids,
    class_names,
    load_config,
    model_names,
)
from keras_efficientdet.config.values import plain
from keras_efficientdet.errors import ConfigError

NAMES = [
    *(f'efficientdet-d{i}' for i in (*range(8), '7x')),
    *(f'efficientdet-lite{i}' for i in (0, 1, 2, 3, '3x', 4)),
]
UNRECORDED = ('d3', 'd5', 'lite3x', 'lite4')  # no golden of their hparams
OURS = {
    'fpn_weight_method': 'fastattn',
    'fpn_name': 'bifpn',
}  # what the official code means by None


def test_fifteen_detectors():
    assert model_names() == sorted(NAMES)


@pytest.mark.parametrize('name', NAMES)
def test_every_detector_loads(name):
    config = load_config(name)
    assert config.model.name == name
    assert config.expected.val_ap > 25 and config.expected.trainable_params > 3e6


@pytest.mark.parametrize(
    'name', [name for name in NAMES if name.rpartition('-')[2] not in UNRECORDED]
)
def test_values_are_the_official_ones(name, golden):
    official, config = golden('func/hparams.json')['models'][name]['result'], load_config(name)
    compared = 0
    for section in (config.model, config.data, config.train):
        for field in set(dataclasses.asdict(section)) & set(official):
            expected = official[field] if official[field] is not None else OURS.get(field)
            if field == 'mixed_precision':
                expected = expected or None
            if field in ('mean_rgb', 'stddev_rgb') and isinstance(expected, float):
                expected = [expected] * 3
            if field == 'image_size':
                expected = [expected, expected]
            assert plain(getattr(section, field)) == expected, field
            compared += 1
    assert compared > 35


SPELLINGS = [
    {'learning_rate': 0.01},
    {'train.learning_rate': 0.01},
    {'train': {'learning_rate': 0.01}},
    'learning_rate=0.01',
    'train.learning_rate=1e-2',
    'learning_rate = 1e-2',
    ['learning_rate=7', {'train.learning_rate': 0.01}],
]


@pytest.mark.parametrize('override', SPELLINGS, ids=str)
def test_spellings_of_an_override(override):
    changed = load_config('efficientdet-d0', override)
    assert changed.train.learning_rate == 0.01
    assert dataclasses.replace(changed, train=load_config('efficientdet-d0').train) == load_config(
        'efficientdet-d0'
    )


def test_yaml_file_as_override_and_as_model(tmp_path):
    path = tmp_path / 'mine.yaml'
    path.write_text(
        'base: efficientdet-lite1\nlearning_rate: 1e-3\nmodel: {num_classes: 2, label_map: {4: a, 9: b}}\n'
    )
    config = load_config(path)
    assert (config.model.name, config.train.learning_rate) == ('efficientdet-lite1', 0.001)
    assert config.model.fpn_num_filters == load_config('efficientdet-lite1').model.fpn_num_filters
    path.write_text('num_epochs: 7\n')
    assert load_config('efficientdet-d0', path).train.num_epochs == 7
    assert load_config('efficientdet-d0', [str(path), 'num_epochs=8']).train.num_epochs == 8


CONVERTED = [
    ('learning_rate=1e-3', 'train', 'learning_rate', 0.001),
    ('num_epochs=12', 'train', 'num_epochs', 12),
    ({'learning_rate': 1}, 'train', 'learning_rate', 1.0),
    ('survival_prob=0.9', 'model', 'survival_prob', 0.9),
    ('survival_prob=null', 'model', 'survival_prob', None),
    ('per_class=false', 'detect', 'per_class', False),
    ('image_size=320', 'model', 'image_size', (320, 320)),
    ('image_size=[96, 160]', 'model', 'image_size', (96, 160)),
    ({'aspect_ratios': [1.0, [1.4, 0.7]]}, 'model', 'aspect_ratios', (1.0, (1.4, 0.7))),
    ('anchor_scale=[1, 2, 3, 4, 5]', 'model', 'anchor_scale', (1, 2, 3, 4, 5)),
]


@pytest.mark.parametrize(('override', 'section', 'field', 'value'), CONVERTED, ids=str)
def test_values_become_the_annotated_type(override, section, field, value):
    found = getattr(getattr(load_config('efficientdet-d0', override), section), field)
    assert found == value and type(found) is type(value)


def test_presets_of_the_detections():
    usual = load_config('efficientdet-d0')
    assert load_config(usual, ['method=hard', 'sigma=0.9', 'detect=official_eval']) == usual
    fast = load_config(usual, {'detect': 'fast'})
    assert fast == load_config(usual, 'detect=fast') and fast.detect.method == 'hard'
    assert fast.detect.max_nms_inputs < usual.detect.max_nms_inputs
    assert load_config(usual, ['detect=fast', 'iou_thresh=0.4']).detect == dataclasses.replace(
        fast.detect, iou_thresh=0.4
    )


ERRORS = [
    ({'detect': 'fats'}, "unknown preset 'fats' of detect; valid: official_eval, fast"),
    ({'iou_loss_type': 3}, 'iou_loss_type must be'),
    ({'freeze': 'efficientnet'}, 'freeze must be'),
    ({'freeze': [3]}, 'each of freeze must be str'),
    ({'learning_rat': 1}, "unknown key 'learning_rat'; did you mean train.learning_rate?"),
    ('model.anchor_scales=3', 'did you mean model.anchor_scale?'),
    ('model.learning_rate=1', 'did you mean train.learning_rate?'),
    ({'detect': {'iou_tresh': 0.4}}, 'did you mean detect.iou_thresh?'),
    ({'zzzzzz': 1}, 'valid: '),
    ({'num_epochs': 'many'}, "num_epochs must be int, found str 'many'"),
    ({'num_epochs': 1.5}, 'num_epochs must be int, found float 1.5'),
    ({'num_epochs': True}, 'num_epochs must be int, found bool'),
    ({'learning_rate': True}, 'learning_rate must be float, found bool'),
    ({'learning_rate': 'fast'}, "learning_rate must be float, found str 'fast'"),
    ({'per_class': 1}, 'per_class must be bool, found int 1'),
    ({'mean_rgb': 127.0}, 'mean_rgb must be'),
    ({'mean_rgb': ['a', 1, 2]}, "each of mean_rgb must be float, found str 'a'"),
    ({'learning_rate': 'nan'}, 'learning_rate must be float'),
    ({'image_size': [True, 5]}, 'image_size must be one positive int'),
    ({'act_type': None}, 'act_type must be str'),
    ({'model': 3}, "unknown key 'model'"),
    ({'image_size': '640x480'}, 'WIDTHxHEIGHT'),
    ('image_size=640x480', 'WIDTHxHEIGHT'),
    ({'image_size': [640]}, r'\[height, width\]'),
    ({'image_size': [640, 0]}, 'positive'),
    ({'image_size': 12.5}, '12.5'),
    ({'label_map': {1: 'a', 2: 'b'}}, 'label_map has 2 classes but num_classes is 90'),
    ({'label_map': ['a', 'b'], 'num_classes': 2}, 'ids to names'),
    ({'label_map': {'cat': 1}, 'num_classes': 1}, 'ids to names'),
    ({'method': 'soft'}, "method of NMS must be one of gaussian, hard, linear, diou, found 'soft'"),
    ({'sigma': 0.0}, 'sigma of NMS must be above 0'),
    ({'max_output_size': 0}, 'found 0 and 5000'),
    ({'min_level': 6}, 'found 6 to 7'),
    ({'max_level': 4}, 'found 3 to 4'),
]


@pytest.mark.parametrize(('override', 'message'), ERRORS, ids=[str(e[0]) for e in ERRORS])
def test_errors_name_the_thing(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config('efficientdet-d0', override)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('efficientdet-d77', "unknown model 'efficientdet-d77'; did you mean efficientdet-d7"),
        ('efficientdet_lite0', 'did you mean efficientdet-lite0?'),
        ('resnet', 'valid: efficientdet-d0'),
        ('nowhere.yaml', 'no such configuration file: nowhere.yaml'),
    ],
)
def test_unknown_models(name, message):
    with pytest.raises(ConfigError, match=message.replace('?', r'\?')):
        load_config(name)


def test_yaml_that_is_no_mapping(tmp_path):
    (tmp_path / 'list.yaml').write_text('- 1\n- 2\n')
    with pytest.raises(ConfigError, match=r'list\.yaml: expected keys and values, found a list'):
        load_config(tmp_path / 'list.yaml')


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize(
    'through',
    [lambda d: d, lambda d: json.loads(json.dumps(d)), lambda d: yaml.safe_load(yaml.safe_dump(d))],
    ids=['dict', 'json', 'yaml'],
)
def test_to_dict_round_trip(name, through):
    config = load_config(
        name,
        {
            'num_classes': 2,
            'label_map': {18: 'dog', 3: 'cat'},
            'aspect_ratios': [1.0, [1.4, 0.7]],
            'image_size': [96, 160],
        },
    )
    again = load_config(Config(), through(config.to_dict()))
    assert again == config


def test_to_dict_keeps_the_class_order():
    config = load_config('efficientdet-d0', {'num_classes': 2, 'label_map': {18: 'dog', 3: 'cat'}})
    again = load_config(Config(), json.loads(json.dumps(config.to_dict())))
    assert class_ids(config.model) == class_ids(again.model) == (18, 3)
    assert class_names(config.model) == class_names(again.model) == ('dog', 'cat')


def test_classes_without_label_map():
    config = load_config('efficientdet-d0', {'num_classes': 3})
    assert class_ids(config.model) == (1, 2, 3)
    assert class_names(config.model) == ('1', '2', '3')


def test_field_names_are_unique_over_sections():
    names = collections.Counter(
        f.name for section in SECTIONS.values() for f in dataclasses.fields(section)
    )
    assert [name for name, count in names.items() if count > 1] == []
    assert not set(names) & set(SECTIONS)


def test_yaml_files_hold_known_keys_only():
    for path in HPARAMS.glob('*.yaml'):
        for section, values in yaml.safe_load(pathlib.Path(path).read_text()).items():
            assert set(values) <= {f.name for f in dataclasses.fields(SECTIONS[section])}, path


@pytest.mark.parametrize(
    ('override', 'message'),
    [
        (
            'autoaugment_policy=v4',
            r"autoaugment_policy must be one of v0, v1, v2, v3, randaug or null, found 'v4'",
        ),
        ('mosaic_prob=1.5', r'mosaic_prob must lie between 0 and 1, found 1\.5'),
        ('color_jitter=-0.1', 'color_jitter must lie'),
    ],
)
def test_augmentation_that_cannot_be(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config('efficientdet-d0', override)
