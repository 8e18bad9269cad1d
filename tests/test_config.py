"""Configurations: fifteen detectors, every way to write an override, and errors that help."""

import collections
import dataclasses
import json
import pathlib
import tarfile

import numpy as np
import pytest
import yaml

from keras_efficientdet.config import (
    HPARAMS,
    SECTIONS,
    Config,
    LabelMap,
    choices,
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
FOLLOWS_THE_CLASSES = 'seg_num_classes'  # officially 3


def test_fifteen_detectors():
    assert model_names('efficientdet') == sorted(NAMES)
    assert model_names() == sorted(
        [*NAMES, *model_names('efficientnet'), *model_names('centernet')]
    )


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
        for field in set(dataclasses.asdict(section)) & set(official) - {FOLLOWS_THE_CLASSES}:
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
        'base: efficientdet-lite1\n'
        'learning_rate: 1e-3\n'
        'model: {num_classes: 2, label_map: {4: a, 9: b}}\n'
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
    ('anchor_scale=[1, 2, 3, 4, 5]', 'model', 'anchor_scale', (1.0, 2.0, 3.0, 4.0, 5.0)),
    ({'num_classes': np.int64(7)}, 'model', 'num_classes', 7),
    ({'image_size': (np.int32(96), np.int64(160))}, 'model', 'image_size', (96, 160)),
    ({'image_size': np.int64(320)}, 'model', 'image_size', (320, 320)),
    ({'image_size': np.array([96, 160])}, 'model', 'image_size', (96, 160)),
    ({'learning_rate': np.float32(0.5)}, 'train', 'learning_rate', 0.5),
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
    ({'freeze': [3]}, 'each of train.freeze must be str'),
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
    ({'mean_rgb': ['a', 1, 2]}, "each of model.mean_rgb must be float, found str 'a'"),
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
    ({'label_map': ['a', 'b'], 'num_classes': 2}, 'category ids and class names in class order'),
    ({'label_map': {'cat': 1}, 'num_classes': 1}, 'category ids and class names in class order'),
    ({'label_map': {1.5: 'cat'}, 'num_classes': 1}, 'category ids and class names'),
    ({'label_map': 'coco'}, 'category ids and class names'),
    (
        {'label_map': [[1, 'cat'], [1, 'dog']], 'num_classes': 2},
        r'label_map: ids must be unique, found \[1\] more than once',
    ),
    ({'label_map': {1: 'cat', '1': 'dog'}, 'num_classes': 2}, 'ids must be unique'),
    ({'aspect_ratios': [[1, 2, 3]]}, 'each of model.aspect_ratios must be a list of 2'),
    ({'anchor_scale': [4.0, 5.0]}, 'one for each of the 5 levels 3 to 7'),
    ({'jitter_min': 3.0}, r'jitter_min must not be above jitter_max, found 3\.0 and 2\.0'),
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
        ('resnet', 'valid: centernet-lite0, efficientdet-d0'),
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


def through_yaml(values):
    """Written by default settings, which sort the keys of mappings."""
    return yaml.safe_load(yaml.safe_dump(values))


def through_json(values):
    return json.loads(json.dumps(values))


PERMUTED = {'num_classes': 2, 'label_map': {18: 'dog', 3: 'cat'}}


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('through', [dict, through_json, through_yaml])
def test_to_dict_round_trip(name, through):
    config = load_config(
        name, {**PERMUTED, 'aspect_ratios': [1.0, [1.4, 0.7]], 'image_size': [96, 160]}
    )
    again = load_config(Config(), through(config.to_dict()))
    assert again == config and hash(again) == hash(config)
    assert class_ids(again.model) == (18, 3)
    assert class_names(again.model) == ('dog', 'cat')


def test_configurations_of_another_class_order_are_different():
    config = load_config('efficientdet-d0', PERMUTED)
    other = load_config('efficientdet-d0', {'num_classes': 2, 'label_map': {3: 'cat', 18: 'dog'}})
    assert config != other
    assert hash(config) != hash(other)
    assert json.dumps(config.to_dict()) != json.dumps(other.to_dict())


FORMS_OF_A_LABEL_MAP = [
    {18: 'dog', 3: 'cat'},
    {'18': 'dog', '3': 'cat'},
    [[18, 'dog'], [3, 'cat']],
    [('18', 'dog'), (np.int64(3), 'cat')],
    [{'id': 18, 'name': 'dog'}, {'id': 3, 'name': 'cat', 'supercategory': 'animal'}],
    LabelMap({18: 'dog', 3: 'cat'}),
]


@pytest.mark.parametrize('label_map', FORMS_OF_A_LABEL_MAP, ids=str)
def test_forms_of_a_label_map(label_map):
    config = load_config('efficientdet-d0', {'num_classes': 2, 'label_map': label_map})
    assert list(config.model.label_map.items()) == [(18, 'dog'), (3, 'cat')]
    assert config.to_dict()['model']['label_map'] == [[18, 'dog'], [3, 'cat']]


def test_a_label_map_is_a_read_only_mapping_with_an_order():
    labels = LabelMap({18: 'dog', 3: 'cat'})
    assert (labels[18], labels.get(4), len(labels), 3 in labels) == ('dog', None, 2, True)
    assert dict(labels) == labels == {18: 'dog', 3: 'cat'}
    assert labels != {3: 'cat', 18: 'dog'} and labels != LabelMap({3: 'cat', 18: 'dog'})
    assert labels != [[18, 'dog'], [3, 'cat']]
    assert repr(labels) == "LabelMap({18: 'dog', 3: 'cat'})"
    with pytest.raises(TypeError):
        labels[18] = 'wolf'


OLD = pathlib.Path(__file__).parent / 'goldens' / 'old_models'


@pytest.mark.parametrize('lane', ['keras2', 'keras3'])
def test_trainings_of_the_first_version_keep_their_class_order(lane, tmp_path, monkeypatch):
    monkeypatch.setitem(choices.SCALINGS, 'tiny', (0.05, 0.1))
    with tarfile.open(OLD / lane / 'fit.tar.gz') as archive:
        archive.extractall(tmp_path, filter='data')
    config = load_config(tmp_path / 'fit' / 'config.yaml')
    with np.load(tmp_path / 'fit' / 'checkpoint' / 'epoch-0001.npz') as arrays:
        stored = json.loads(str(arrays['state']))['config']
    for found in (config, load_config(Config(), stored)):
        assert list(found.model.label_map.items()) == [(18, 'dog'), (1, 'cat'), (400, 'van')]


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
        content = yaml.safe_load(pathlib.Path(path).read_text())
        content.pop('base', None)  # the model that this one differs from
        for section, values in content.items():
            assert set(values) <= {f.name for f in dataclasses.fields(SECTIONS[section])}, path


NONSENSE = [
    ('batch_size=0', 'train.batch_size must be at least 1, found 0'),
    ('batch_size=-4', 'at least 1, found -4'),
    ('num_classes=0', 'model.num_classes must be at least 1'),
    ('num_epochs=0', 'train.num_epochs must be at least 1'),
    ('steps_per_execution=0', 'at least 1'),
    ('accumulation_steps=0', 'at least 1'),
    ('learning_rate=-1', r'train.learning_rate must be above 0, found -1\.0'),
    ('learning_rate=0', 'above 0'),
    ('lr_warmup_epoch=-1', 'at least 0'),
    ('momentum=5', r'train.momentum must be at least 0 and below 1, found 5\.0'),
    ('momentum=1', 'below 1'),
    ('moving_average_decay=1', 'below 1'),
    ('optimizer=adamw', "train.optimizer must be one of sgd, adam, found 'adamw'"),
    ('lr_decay_method=cos', 'one of cosine, stepwise, polynomial, constant'),
    ('backbone_name=resnet50', 'model.backbone_name must be one of efficientnet-b0, '),
    ('head=centre', 'one of anchor'),
    ('fpn_name=nasfpn', 'one of bifpn, qufpn'),
    ('fpn_weight_method=max', 'one of fastattn, channel_fastattn, attn, channel_attn, sum'),
    ('act_type=gelu', 'one of swish, '),
    ('iou_loss_type=eiou', 'one of iou, giou, diou, ciou'),
    ('mixed_precision=float16', 'one of mixed_float16, mixed_bfloat16'),
    ('aspect_ratios=[a]', "each of model.aspect_ratios must be .*, found str 'a'"),
    ('aspect_ratios=[]', 'a list of at least one'),
    ('aspect_ratios=[1.0, [1.4, -0.7]]', 'model.aspect_ratios must be above 0'),
    ('anchor_scale=0', 'model.anchor_scale must be above 0'),
    ('stddev_rgb=[1, 0, 1]', 'model.stddev_rgb must be above 0'),
    ('mean_rgb=[1, 2]', 'model.mean_rgb must be a list of 3'),
    ('min_level=6', 'model.min_level must be at least 1 and at most 5, found 6'),
    ('max_level=4', 'model.max_level must be at least 5, found 4'),
    ('survival_prob=1.2', 'at least 0 and at most 1'),
    ('freeze=["("]', 'train.freeze must be a list of regular expressions'),
    ('seed=-1', 'train.seed must be at least 0'),
    ('shuffle_buffer=0', 'at least 1'),
    ('autoaugment_policy=v4', "one of v0, v1, v2, v3, randaug, found 'v4'"),
    ('mosaic_prob=1.5', r'data.mosaic_prob must be at least 0 and at most 1, found 1\.5'),
    ('color_jitter=-0.1', 'data.color_jitter must be at least 0'),
    ('method=soft', "detect.method must be one of gaussian, hard, linear, diou, found 'soft'"),
    ('sigma=0', 'detect.sigma must be above 0'),
    ('iou_thresh=50', 'at least 0 and at most 1'),
    ('max_output_size=0', 'detect.max_output_size must be at least 1, found 0'),
    ('max_nms_inputs=-1', 'detect.max_nms_inputs must be at least 0, found -1'),
]


@pytest.mark.parametrize(('override', 'message'), NONSENSE, ids=[n[0] for n in NONSENSE])
def test_values_outside_of_range_or_choices(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config('efficientdet-d0', override)


FREE = {'name', 'data_service'}  # any text


def test_every_key_but_switches_has_a_rule():
    for section in SECTIONS.values():
        for field in dataclasses.fields(section):
            if field.type is not bool and field.name not in FREE:
                assert field.metadata.get('rule'), field.name


def test_defaults_keep_their_own_rules():
    assert load_config(Config(), Config().to_dict()) == Config()


def test_choices_are_what_is_implemented():
    from keras_efficientdet.network import blocks, heads, iou_losses, layers
    from keras_efficientdet.network.pyramids import graphs
    from keras_efficientdet.training import schedules

    assert set(choices.ACTIVATIONS) == set(blocks.ACTIVATIONS)
    assert set(choices.FUSIONS) == {*layers.FUSIONS, 'sum'}
    assert set(choices.PYRAMIDS) == {*graphs.GRAPHS, 'upsampling', 'none'}
    assert set(choices.IOU_LOSSES) == set(iou_losses.IOU_TYPES)
    assert set(choices.DECAYS) == set(schedules.DECAYS)
    assert 'anchor' in heads.HEADS


@pytest.mark.parametrize('name', choices.OPTIMIZERS)
def test_every_optimizer_can_be_built(name):
    from keras_efficientdet.training.optimizers import optimizer

    train = load_config('efficientdet-d0', {'optimizer': name}).train
    assert type(optimizer(train, 10)).__name__.lower() == name


def test_choices_in_a_table_are_looked_up_when_they_are_checked(monkeypatch):
    monkeypatch.setitem(choices.SCALINGS, 'efficientnet-x', (1.0, 1.0))
    assert load_config('efficientdet-d0', 'backbone_name=efficientnet-x')


def test_a_head_is_accepted_before_the_heads_are_imported(monkeypatch):
    """The command line reads configurations without importing the network."""
    for head in tuple(choices.HEADS):
        monkeypatch.delitem(choices.HEADS, head)
    assert load_config(Config(), Config().to_dict()) == Config()


def test_a_path_may_hold_an_equals_sign(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path('run=3').mkdir()
    pathlib.Path('run=3/mine.yaml').write_text('num_epochs: 7\n')
    assert load_config('efficientdet-d0', 'run=3/mine.yaml').train.num_epochs == 7
    with pytest.raises(ConfigError, match=r'no such configuration file: run=4/mine\.yaml'):
        load_config('efficientdet-d0', 'run=4/mine.yaml')
    assert load_config('efficientdet-d0', 'name=my.yaml').model.name == 'my.yaml'
