"""Faults of settings, each planted alone: the doctor finds it, and only it."""

import pytest
from little import TINY
from planted import check, configured

from keras_efficientdet import efficientdet
from keras_efficientdet.doctor import examine
from keras_efficientdet.doctor.settings import check_settings
from keras_efficientdet.weights.official import official_weights, save_official

# name: (overrides, weights, key, severity, a word of what is found, a word of the fix)
FAULTS = {
    'adam_with_the_rate_of_sgd': (
        {'learning_rate': 0.08},
        None,
        'learning rate',
        'warning',
        'too high for adam',
        '0.001',
    ),
    'sgd_10_times_too_high': (
        {'optimizer': 'sgd', 'learning_rate': 0.8},
        None,
        'learning rate',
        'warning',
        'too high for sgd',
        '0.08',
    ),
    'sgd_with_the_rate_of_adam': (
        {'optimizer': 'sgd', 'learning_rate': 1e-3},
        None,
        'learning rate',
        'warning',
        'too low for sgd',
        '0.08',
    ),
    'unknown_optimizer': (
        {'optimizer': 'adamm'},
        None,
        'optimizer',
        'error',
        "'adamm'",
        'sgd, adam',
    ),
    'batch_of_two': (
        {'batch_size': 2},
        None,
        'batch size',
        'warning',
        'batch_size 2',
        'at least 4',
    ),
    'batch_larger_than_the_data': (
        {'batch_size': 32, 'learning_rate': 0.002},
        None,
        'batch size',
        'error',
        '24 pictures are fewer',
        'lower batch_size',
    ),
    'all_warm_up': (
        {'lr_warmup_epoch': 150.0},
        None,
        'warm-up',
        'warning',
        '450 of 600 steps',
        'lr_warmup_epoch',
    ),
    'warm_up_from_above': (
        {'lr_warmup_init': 0.008},
        None,
        'warm-up start',
        'warning',
        'begins at 0.008 and ends at 0.0013',
        'lr_warmup_init=0.0001',
    ),
    'too_few_steps': (
        {'num_epochs': 10},
        None,
        'steps',
        'warning',
        '30 steps in all',
        'num_epochs to 134',
    ),
    'constant_batch_norm': (
        {'batch_norm_ramp': False},
        None,
        'batch norm',
        'warning',
        'after 600 steps; 1000',
        'batch_norm_ramp',
    ),
    'scaling_of_the_large_models': (
        {'mean_rgb': [123.7, 116.3, 103.5], 'stddev_rgb': [58.4, 57.1, 57.4]},
        None,
        'scaling',
        'warning',
        '[123.7, 116.3, 103.5]',
        'mean_rgb=[127.0, 127.0, 127.0]',
    ),
    'coco_weights_for_three_classes': (
        {},
        'coco',
        'weights',
        'note',
        '90 classes, the configuration has 3',
        'fresh values',
    ),
    'missing_weights': ({}, 'nowhere/model', 'weights', 'error', 'no such checkpoint', 'path'),
    'a_frozen_random_backbone': (
        {'freeze': ['^efficientnet']},
        None,
        'freeze',
        'warning',
        'random values',
        '--weights=imagenet',
    ),
    'jitter': (
        {'jitter_min': 6.0, 'jitter_max': 8.0},
        None,
        'jitter',
        'warning',
        'leaves nothing of',
        '0.8 and 1.25',
    ),
    'anchors_too_large_by_setting': (
        {'anchor_scale': 12.0},
        None,
        'anchors',
        'warning',
        'the anchors are too large',
        'anchor_scale=',
    ),
    'background_counted': (
        {'model': {'label_map': None, 'num_classes': 4}},
        None,
        'background',
        'warning',
        'one more',
        'objects only',
    ),
    'odd_image_size': (
        {'image_size': [150, 200]},
        None,
        'image size',
        'note',
        'not a multiple of 128',
        '[128, 256]',
    ),
    'no_names': (
        {'model': {'label_map': None, 'num_classes': 3}},
        None,
        'class names',
        'note',
        'called 1 to 3',
        'label_map',
    ),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_a_planted_fault_of_the_settings(fault, healthy):
    change, weights, *expected = FAULTS[fault]
    beside = {'classes in train'} if fault == 'background_counted' else ()
    check(
        examine(healthy['train'], healthy['val'], configured(**change), weights), *expected, beside
    )


@pytest.mark.parametrize('classes', [2, 3])
def test_weights_of_another_number_of_classes(classes, tmp_path):
    small = {key: TINY[key] for key in ('backbone_name', 'fpn_cell_repeats', 'box_class_repeats')}
    model = efficientdet(configured(model={'num_classes': classes, 'label_map': None, **small}))
    save_official(model, str(tmp_path / 'model'))
    model.save_weights(str(tmp_path / 'model.weights.h5'))
    for weights in (
        official_weights(model),
        str(tmp_path / 'model'),
        str(tmp_path / 'model.weights.h5'),
    ):
        found = [f.found for f in check_settings(configured(), 24, weights) if f.key == 'weights']
        assert found == (
            ['the weights know 2 classes, the configuration has 3'] if classes == 2 else []
        )
