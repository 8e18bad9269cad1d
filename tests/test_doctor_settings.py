"""Faults of settings, each planted alone: the doctor finds it, and only it."""

import pytest
from little import TINY
from planted import check, configured

from keras_efficientdet import efficientdet
from keras_efficientdet.doctor import examine
from keras_efficientdet.doctor.settings import check_settings
from keras_efficientdet.weights.official import official_weights, save_official

# name: (overrides, weights, id, severity, part of `found`, part of `fix`)
FAULTS = {
    'adam_with_the_rate_of_sgd': (
        {'learning_rate': 0.08},
        None,
        'settings.learning_rate',
        'warning',
        'too high for adam',
        'set learning_rate between 0.008 and 0.024',
    ),
    'sgd_10_times_too_high': (
        {'optimizer': 'sgd', 'learning_rate': 0.8},
        None,
        'settings.learning_rate',
        'warning',
        'too high for sgd',
        '0.08',
    ),
    'sgd_with_the_rate_of_adam': (
        {'optimizer': 'sgd', 'learning_rate': 1e-3},
        None,
        'settings.learning_rate',
        'warning',
        'too low for sgd',
        '0.08',
    ),
    'batch_of_two': (
        {'batch_size': 2},
        None,
        'settings.batch_too_small',
        'warning',
        'batch_size 2',
        'at least 4',
    ),
    'batch_larger_than_the_data': (
        {'batch_size': 32, 'learning_rate': 0.002},
        None,
        'settings.batch_too_large',
        'error',
        'batch_size 32 is more than the 24 training images',
        'batch_size to 24 or less',
    ),
    'all_warm_up': (
        {'lr_warmup_epoch': 150.0},
        None,
        'settings.warmup_length',
        'warning',
        '450 of 600 training steps',
        'lr_warmup_epoch',
    ),
    'warm_up_from_above': (
        {'lr_warmup_init': 0.008},
        None,
        'settings.warmup_start',
        'warning',
        'starts at 0.008 and ends at 0.0013',
        'lr_warmup_init=0.0001',
    ),
    'too_few_steps': (
        {'num_epochs': 10},
        None,
        'settings.few_steps',
        'warning',
        '30 training steps',
        'num_epochs to 134',
    ),
    'constant_batch_norm': (
        {'batch_norm_ramp': False},
        None,
        'settings.batch_norm',
        'warning',
        'need 1000 steps to forget their initial values, and there are 600',
        'batch_norm_ramp',
    ),
    'scaling_of_the_large_models': (
        {'mean_rgb': [123.7, 116.3, 103.5], 'stddev_rgb': [58.4, 57.1, 57.4]},
        None,
        'settings.normalisation',
        'warning',
        '[123.7, 116.3, 103.5]',
        'mean_rgb=[127.0, 127.0, 127.0]',
    ),
    'coco_weights_for_three_classes': (
        {},
        'coco',
        'weights.classes',
        'note',
        'predict 90 classes, the configuration has 3',
        're-initialises',
    ),
    'missing_weights': (
        {},
        'nowhere/model',
        'weights.unreadable',
        'error',
        'no such file',
        'path',
    ),
    'a_frozen_random_backbone': (
        {'freeze': ['^efficientnet']},
        None,
        'settings.freeze',
        'warning',
        'random values',
        '--weights=imagenet',
    ),
    'settings.jitter': (
        {'jitter_min': 6.0, 'jitter_max': 8.0},
        None,
        'settings.jitter',
        'warning',
        'removes',
        '0.8 and 1.25',
    ),
    'anchors_too_large_by_setting': (
        {'anchor_scale': 12.0},
        None,
        'anchors.coverage',
        'warning',
        'are too large',
        'anchor_scale=',
    ),
    'background_counted': (
        {'model': {'label_map': None, 'num_classes': 4}},
        None,
        'labels.background',
        'warning',
        'as if background were counted',
        'object classes only',
    ),
    'odd_image_size': (
        {'image_size': [150, 200]},
        None,
        'settings.image_size',
        'note',
        'not a multiple of 128',
        '[128, 256]',
    ),
    'no_names': (
        {'model': {'label_map': None, 'num_classes': 3}},
        None,
        'labels.no_map',
        'note',
        'named 1 to 3',
        'label_map',
    ),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_a_planted_fault_of_the_settings(fault, healthy):
    change, weights, *expected = FAULTS[fault]
    beside = {'labels.absent'} if fault == 'background_counted' else ()
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
        found = [
            f.found for f in check_settings(configured(), 24, weights) if f.id == 'weights.classes'
        ]
        assert found == (
            ['the weights predict 2 classes, the configuration has 3'] if classes == 2 else []
        )
