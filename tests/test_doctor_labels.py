"""Faults of class ids and names, each planted alone: the doctor finds it, and only it."""

import dataclasses

import pytest
from planted import check, configured, counted_from_0, only, relabelled, written

from keras_efficientdet import load_config
from keras_efficientdet.data.cache import label_overrides
from keras_efficientdet.doctor import examine

# name: (change of the training Source, id, severity, part of `found`, part of `fix`)
FAULTS = {
    'ids_from_0': (counted_from_0, 'labels.one_too_low', 'error', 'one too low', 'label_map'),
    'ids_up_to_num_classes': (
        lambda s: relabelled(s, {1: 2, 2: 3, 3: 4}),
        'labels.one_too_high',
        'error',
        'one too high',
        'label_map',
    ),
    'ids_with_gaps': (
        lambda s: relabelled(s, {2: 18, 3: 400}),
        'labels.gap',
        'error',
        'lacks category ids of the data: 18, 400 (configured: 1, 2, 3; in the data: 1, 18, 400)',
        '`keras_efficientdet.label_overrides`',
    ),
    'names_of_another_map': (
        lambda s: relabelled(s, {}, {1: 'dog', 2: 'cat', 3: 'van'}),
        'labels.other_name',
        'error',
        "id 1: 'dog' in the data",
        'the same label_map',
    ),
    'a_class_that_never_occurs': (
        lambda s: only(s, {1, 3}),
        'labels.absent',
        'warning',
        'no box for 1 of 3 classes: dog',
        'cannot learn',
    ),
}
# The same, of a configuration that takes its names from the data.
FAULTS_OF_NAMES = {
    'class_names_missing': (
        lambda s: relabelled(s, {}, {1: 'cat', 2: '', 3: 'van'}),
        'labels.unnamed',
        'warning',
        'categories without a name: 2',
        'name every',
    ),
    'class_names_twice': (
        lambda s: relabelled(s, {}, {1: 'cat', 2: 'dog', 3: 'dog'}),
        'labels.repeated_name',
        'error',
        "2, 3 have the same name 'dog'",
        'merge',
    ),
    'class_names_that_look_alike': (
        lambda s: relabelled(s, {}, {1: 'Road sign', 2: 'road-sign', 3: 'van'}),
        'labels.similar_names',
        'warning',
        "'Road sign', 'road-sign'",
        'merge them',
    ),
    'background_in_the_map': (
        lambda s: relabelled(s, {}, {1: 'background', 2: 'dog', 3: 'van'}),
        'labels.background',
        'error',
        "'background'",
        'object classes only',
    ),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_a_planted_fault_of_the_ids(fault, sources, healthy, tmp_path):
    plant, *expected = FAULTS[fault]
    check(
        examine(written(plant(sources['train']), tmp_path / 'train'), healthy['val'], configured()),
        *expected,
    )


@pytest.mark.parametrize('fault', FAULTS_OF_NAMES)
def test_a_planted_fault_of_the_names(fault, sources, tmp_path):
    plant, *expected = FAULTS_OF_NAMES[fault]
    train = written(plant(sources['train']), tmp_path / 'train')
    config = load_config(configured(), label_overrides(train))
    valid = written(
        dataclasses.replace(sources['val'], label_map=config.model.label_map), tmp_path / 'val'
    )
    check(examine(train, valid, config), *expected)


def test_a_class_that_validation_lacks(sources, healthy, tmp_path):
    valid = written(only(sources['val'], {1, 2}), tmp_path / 'val')
    check(
        examine(healthy['train'], valid, configured()),
        'labels.absent',
        'note',
        'no box for 1 of 3 classes: van',
        'nan',
    )
