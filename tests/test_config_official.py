"""Official configurations translated: the parser, every default key, labels, and reports."""

import json

import numpy as np
import official
import pytest

from keras_efficientdet import load_config
from keras_efficientdet.config import class_ids, class_names
from keras_efficientdet.config.label_maps import LABEL_MAPS
from keras_efficientdet.config.official import LEFT_OUT, _value, from_official, parse
from keras_efficientdet.errors import ConfigError

PARSED = list((official.golden('func/hparams.json') or {}).get('parse_from_str', {}))
VOC = """num_classes: 20
moving_average_decay: 0
var_freeze_expr: '(efficientnet|fpn_cells|resample_p6)'
label_map: {1: aeroplane, 2: bicycle, 20: tvmonitor}
nms_configs: {method: hard, iou_thresh: 0.4, max_nms_inputs: 1000}
backbone_name: efficientnet-b1
image_size: 640x384
"""


@pytest.mark.parametrize('text', PARSED)
def test_official_text_form(text, golden):
    wanted = golden('func/hparams.json')['parse_from_str'][text]
    if wanted['ok']:
        assert parse(text) == wanted['result']
    else:
        with pytest.raises(ConfigError, match='expected key=value'):
            parse(text)


def test_official_values(golden):
    for text, value in golden('func/hparams_misc.json')['eval_str'].items():
        assert json.loads(json.dumps(_value(text))) == value, text


@pytest.mark.parametrize(
    'case', ['nested', 'newkey', 'none_value', 'replace_scalar_by_dict', 'not_dict', 'empty']
)
def test_official_dicts(case, golden):
    entry = golden('func/hparams.json')['override_dict'][case]
    if case in ('newkey', 'not_dict'):
        with pytest.raises(ConfigError):
            from_official(entry['arg'])
        return
    overrides = from_official(entry['arg']).overrides
    if case == 'nested':
        assert overrides['detect'] == {
            'method': 'hard',
            'iou_thresh': 0.3,
            'score_thresh': 0.0,
            'max_nms_inputs': 0,
        }
    elif case == 'replace_scalar_by_dict':
        assert (len(overrides['label_map']), overrides['label_map'][2]) == (90, 'cat')
    else:
        assert overrides.pop('detect') == {'max_nms_inputs': 0}
        assert overrides == entry['result'] or overrides == entry['arg']


@pytest.mark.parametrize('case', ['nested', 'bad_key', 'empty', 'tuple'])
def test_official_yaml_files(case, golden, tmp_path):
    entry, path = golden('func/hparams.json')['override_yaml'][case], tmp_path / 'official.yaml'
    path.write_text(entry['text'])
    if not entry['ok']:
        with pytest.raises(ConfigError, match="unknown official key 'foo'"):
            from_official(path)
        return
    config = load_config('efficientdet-d0', from_official(path).overrides)
    if case == 'nested':
        assert config.model.image_size == (384, 640)  # height, width
        assert config.model.aspect_ratios == ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4))
        assert (config.detect.method, config.detect.iou_thresh, config.detect.score_thresh) == (
            'hard',
            0.4,
            0.0,
        )
        assert class_names(config.model) == ('person', 'dog', '3')
    elif case == 'tuple':
        assert config.model.image_size == (384, 640)
    else:
        assert config == load_config('efficientdet-d0', ['max_nms_inputs=0'])


@pytest.mark.parametrize(
    'name', ['efficientdet-d0', 'efficientdet-d6', 'efficientdet-d7x', 'efficientdet-lite0']
)
def test_whole_official_configurations_are_ours(name, golden):
    found = golden('func/hparams.json')['models'][name]['result']
    overrides, left_out = from_official(found)
    assert set(left_out) == (set(found) | set(found['nms_configs'])) & set(LEFT_OUT)
    assert all(left_out.values())
    ours = load_config(name)
    assert load_config(load_config('efficientdet-d1'), overrides) == load_config(
        ours,
        {
            'detect.max_nms_inputs': 0,
            'model.seg_num_classes': 3,
            **{
                f'expected.{k}': getattr(load_config('efficientdet-d1').expected, k)
                for k in ('val_ap', 'trainable_params', 'gflops')
            },
        },
    )


def test_voc_file(tmp_path):
    (tmp_path / 'voc_config.yaml').write_text(VOC)
    overrides, left_out = from_official(str(tmp_path / 'voc_config.yaml'))
    config = load_config('efficientdet-d0', overrides)
    assert left_out == {}
    assert config.train.freeze == (r'\A(?:(efficientnet|fpn_cells|resample_p6))',)
    assert (config.model.num_classes, config.train.moving_average_decay) == (20, 0.0)
    assert (config.model.backbone_name, config.model.image_size) == ('efficientnet-b1', (384, 640))
    assert class_ids(config.model) == tuple(range(1, 21))
    assert class_names(config.model)[:3] + class_names(config.model)[-1:] == (
        'aeroplane',
        'bicycle',
        '3',
        'tvmonitor',
    )
    assert (config.detect.iou_thresh, config.detect.max_nms_inputs) == (0.4, 1000)


def test_official_image_sizes(golden):
    for text, entry in golden('func/image_size.json').items():
        given = tuple(entry['input']) if entry['kind'] == 'tuple' else entry['input']
        if 'hw' in entry:
            assert load_config(
                'efficientdet-d0', from_official({'image_size': given}).overrides
            ).model.image_size == tuple(entry['hw']), text
        elif (
            entry['kind'] != 'list'
        ):  # ours takes a list as (height, width), see docs/DIFFERENCES.md
            with pytest.raises(ConfigError, match='image_size'):
                load_config('efficientdet-d0', from_official({'image_size': given}).overrides)


def test_official_label_maps(golden):
    recorded = golden('func/label_maps.json')
    for name in LABEL_MAPS:
        assert {str(i): label for i, label in LABEL_MAPS[name].items()} == recorded[name]
    coco = load_config('efficientdet-d0', from_official('label_map=coco').overrides)
    assert class_ids(coco.model) == tuple(range(1, 91)) and class_names(coco.model)[11:13] == (
        '12',
        'stop sign',
    )
    assert from_official('label_map=none').overrides['label_map'] is None
    with pytest.raises(ConfigError, match=r'zzz.*coco, voc, waymo'):
        from_official('label_map=zzz')


def test_coco_names_never_meet_another_class_count():
    with pytest.raises(ConfigError, match='from 1 to num_classes'):
        from_official('label_map=coco,num_classes=20')
    with pytest.raises(ConfigError, match='label_map has 90 classes but num_classes is 20'):
        load_config(
            'efficientdet-d0', ['num_classes=20', from_official('label_map=coco').overrides]
        )


@pytest.mark.parametrize(
    ('text', 'wanted'),
    [
        ('nms_configs.method=hard', {'method': 'hard', 'score_thresh': 0.0}),
        ('nms_configs.method=gaussian', {'method': 'gaussian', 'score_thresh': 0.001}),
        (
            'nms_configs.method=None,nms_configs.score_thresh=0.2',
            {'method': 'hard', 'score_thresh': 0.2},
        ),
        (
            'nms_configs.iou_thresh=None,nms_configs.score_thresh=0.0',
            {'iou_thresh': 0.5, 'score_thresh': 0.001},
        ),
        ('nms_configs.iou_thresh=0,nms_configs.sigma=0.0', {'iou_thresh': 0.5, 'sigma': 0.5}),
        (
            'nms_configs.method=linear,nms_configs.pyfunc=true',
            {'method': 'linear', 'iou_thresh': 0.3, 'score_thresh': 0.001},
        ),
        (
            'nms_configs.method=linear,nms_configs.iou_thresh=0.4',
            {'method': 'linear', 'iou_thresh': 0.4, 'score_thresh': 0.001},
        ),
        ('nms_configs.max_nms_inputs=700', {'max_nms_inputs': 700}),
    ],
)
def test_unset_values_mean_what_they_mean_officially(text, wanted):
    assert from_official(text).overrides == {'detect': {'max_nms_inputs': 0, **wanted}}


def test_means_and_fusions():
    overrides = from_official(
        'mean_rgb=127,stddev_rgb=128.0,fpn_name=None,fpn_weight_method=None'
    ).overrides
    model = load_config('efficientdet-d6', overrides).model
    assert (model.mean_rgb, model.fpn_name, model.fpn_weight_method) == (
        (127.0,) * 3,
        'bifpn',
        'fastattn',
    )
    assert np.all(np.array(model.stddev_rgb) == 128)


def test_augmentation_is_translated():
    config = load_config(
        'efficientdet-d0',
        from_official('autoaugment_policy=v2,grid_mask=true,jitter_min=0.5').overrides,
    )
    assert (config.data.autoaugment_policy, config.data.grid_mask, config.data.jitter_min) == (
        'v2',
        True,
        0.5,
    )


def test_every_key_is_translated_or_reported():
    overrides, left_out = from_official(
        'learning_rate=1e-3,mixed_precision=true,strategy=gpus,nms_configs.pyfunc=true'
    )
    assert overrides == {'learning_rate': 0.001, 'detect': {'max_nms_inputs': 0}}
    assert set(left_out) == {'mixed_precision', 'strategy', 'pyfunc'}


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('learning_rat=1', 'did you mean learning_rate'),
        ('nms_configs.iou_tresh=1', 'did you mean iou_thresh'),
        ('nms_configs=1', 'nms_configs must have keys'),
        ('nms_configs.newkey=1', "unknown official key 'newkey'"),
        ('iou_thresh=0.5', "unknown official key 'iou_thresh'"),
        ('zzzzz=1', 'valid: accumulation_steps'),
        ('abc', 'expected key=value'),
        ('missing.yaml', 'no such configuration file: missing.yaml'),
        (
            'heads=object_detection*panoptic',
            'heads must be object_detection, segmentation, or both',
        ),
    ],
)
def test_errors_name_the_thing(text, message):
    with pytest.raises(ConfigError, match=message):
        from_official(text)


@pytest.mark.parametrize(
    ('heads', 'head', 'channels'),
    [
        (['object_detection'], 'anchor', None),
        (['segmentation'], 'segmentation', 3),
        (['segmentation', 'object_detection'], 'anchor+segmentation', 3),
        ('segmentation', 'segmentation', 3),
    ],
)
def test_heads_are_one_head(heads, head, channels):
    """The official default of seg_num_classes is 3, on which checkpoints depend."""
    config = load_config('efficientdet-d0', from_official({'heads': heads}).overrides)
    assert (config.model.head, config.model.seg_num_classes) == (head, channels)


def test_seg_num_classes_is_kept():
    found = from_official('heads=object_detection*segmentation,seg_num_classes=21').overrides
    assert found['seg_num_classes'] == 21
