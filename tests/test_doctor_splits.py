"""Faults of splits, each planted alone: the doctor finds it, and only it."""

import dataclasses

from PIL import Image
from planted import alarms, changed, check, configured, written

from keras_efficientdet.doctor import examine
from keras_efficientdet.doctor.split import split_of_records


def test_image_ids_that_are_not_unique(sources, healthy, tmp_path):
    train = written(changed(sources['train'], id=lambda p: p.id // 2), tmp_path / 'train')
    check(
        examine(train, healthy['val'], configured()),
        'images.repeated_id',
        'error',
        'more than one image',
        'own',
    )


def test_no_validation_data(healthy, tmp_path):
    (tmp_path / 'nothing').mkdir()
    for valid in (None, tmp_path / 'nothing'):
        check(
            examine(healthy['train'], valid, configured()),
            'splits.no_validation',
            'error',
            'no',
            'hold out a fifth',
        )


def test_validation_on_the_training_images(healthy):
    for fast in (True, False):
        findings = examine(healthy['train'], healthy['train'], configured(), fast=fast)
        check(
            findings, 'splits.same', 'error', 'val: all 24 images are also in train', 'split again'
        )


def test_images_in_both_splits(sources, healthy, tmp_path):
    mixed = dataclasses.replace(
        sources['val'],
        photos=[
            *sources['val'].photos,
            *(dataclasses.replace(p, id=p.id + 100) for p in sources['train'].photos[:2]),
        ],
    )
    findings = examine(healthy['train'], written(mixed, tmp_path / 'val'), configured())
    check(
        findings,
        'splits.shared',
        'warning',
        'val: 2 of 10 images are also in train, for example image 101',
        'split again',
    )


def test_edited_copies_in_both_splits(sources, healthy, tmp_path):
    """A brighter JPEG of half the size has another hash, and is found by its look."""
    photo = sources['train'].photos[3]
    edited = Image.open(photo.path).resize((75, 50)).point(lambda v: min(255, int(v * 1.1)))
    edited.save(tmp_path / 'copy.jpg', quality=60)
    copy = dataclasses.replace(
        photo, path=tmp_path / 'copy.jpg', id=77, height=50, width=75, boxes=photo.boxes / 2
    )
    mixed = dataclasses.replace(sources['val'], photos=[*sources['val'].photos, copy])
    folder = written(mixed, tmp_path / 'val')
    check(
        examine(healthy['train'], folder, configured()),
        'splits.near_duplicates',
        'warning',
        'for example image 77 (copy.jpg) and there image 4 (4.png)',
        'look at these pairs',
    )
    assert alarms(examine(healthy['train'], folder, configured(), fast=True)) == []


def test_labelled_images_can_be_compared(healthy):
    """They hold arrays, whose == has no single truth value."""
    split = split_of_records('train', healthy['train'], limit=3)
    assert split.images.index(split.images[2]) == 2
    assert split != split_of_records('train', healthy['train'], limit=3)
