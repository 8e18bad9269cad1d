"""The self-test: what it chooses, that it passes on drawn pictures and real photographs, and what
it says where it fails."""

import csv

import drawn
import pytest
from little import little_config
from planted import LABELS, moved, written

from keras_efficientdet import DataError, load_config, read_coco, write_records
from keras_efficientdet.data.cache import label_overrides
from keras_efficientdet.doctor.split import split_of_records
from keras_efficientdet.training.overfit import choose, overfit


def test_pictures_of_all_classes_are_chosen_and_crowded_ones_left(tmp_path):
    def boxes(category, count=1, **more):
        return [drawn.box(5 * i, 5 * i, 20, 20, category, **more) for i in range(count)]

    folder = drawn.records(
        tmp_path,
        [
            (60, 60, []),
            (60, 60, boxes(1, 5)),
            (60, 60, boxes(1)),
            (60, 60, boxes(2, iscrowd=1)),
            (60, 60, boxes(2)),
            (60, 60, boxes(1) + boxes(3)),
            (60, 60, boxes(1, 2)),
        ],
        LABELS,
    )
    pictures = split_of_records('train', folder).images
    assert [i for i, _ in choose(pictures, 2)] == [4, 5]
    assert [i for i, _ in choose(pictures, 4)] == [2, 4, 5, 6]
    assert [p.id for _, p in choose(pictures)] == ['2', '3', '5', '6', '7']
    with pytest.raises(DataError, match='no image has a box'):
        choose(pictures[:1])


PAIR = [
    (64, 64, [drawn.box(4, 4, 30, 30, 1), drawn.box(36, 34, 24, 24, 2)]),
    (64, 64, [drawn.box(20, 16, 36, 36, 3)]),
]


def test_two_drawn_pictures_are_learned_by_heart(tmp_path):
    folder = drawn.records(tmp_path, PAIR, LABELS)
    result = overfit(
        folder,
        little_config(folder, {'image_size': 64, 'max_level': 6, 'fpn_num_filters': 32}),
        steps=200,
    )
    assert result.passed and result.findings == [], result
    assert result.curve[-1]['loss'] < 0.7 * result.curve[0]['loss']


def test_settings_of_the_training_do_not_reach_the_test(tmp_path):
    """Mosaics, mixtures, frozen layers and parts of a batch would keep it from learning pictures
    by heart."""
    folder = drawn.records(tmp_path, PAIR, LABELS)
    theirs = {
        'mosaic_prob': 1.0,
        'mixup_prob': 1.0,
        'autoaugment_policy': 'v1',
        'grid_mask': True,
        'color_jitter': 1.0,
        'input_rand_vflip': True,
        'freeze': ['class_net', 'box_net'],
        'accumulation_steps': 4,
    }
    config = little_config(folder, {'image_size': 64, 'max_level': 6, 'fpn_num_filters': 32})
    same = [
        overfit(folder, load_config(config, changes), steps=25).curve[-1]['loss']
        for changes in ({}, theirs)
    ]
    assert same[0] == pytest.approx(same[1], rel=1e-3)


def test_a_planted_fault_is_not_learned_and_named(tmp_path):
    """Boxes in parts of the picture, read as pixels: there is nothing to find where they are."""
    source = moved(read_coco(*drawn.write_coco(tmp_path, PAIR, LABELS)), lambda b, p: b / 64)
    folder = written(source, tmp_path / 'records')
    result = overfit(
        folder,
        little_config(folder, {'image_size': 64, 'max_level': 6, 'fpn_num_filters': 32}),
        steps=25,
    )
    assert (
        not result.passed and [row['step'] for row in result.curve] == [25] and result.seconds > 0
    )
    first = result.findings[0]
    assert first.severity == 'error' and first.found.startswith(
        f'AP50 {result.ap50:.2f} after 25 steps on 2 images; loss from'
    )
    assert 'not learned: cat, dog, van' in result.findings[1].found
    assert first.numbers == {'AP50': result.ap50, 'steps': 25, 'images': 2}
    assert any(f.id == 'boxes.normalised' and f.severity == 'error' for f in result.findings)
    result.save_curve(tmp_path / 'curve.csv')
    (row,) = csv.DictReader((tmp_path / 'curve.csv').open())
    assert (row['epoch'], row['step']) == ('1', '25')
    assert float(row['val_AP50']) == result.ap50 and float(row['loss']) == result.curve[0]['loss']


@pytest.mark.slow
def test_eight_real_photographs_are_learned_by_heart(real, tmp_path):
    folder = real('voc100')
    write_records(
        read_coco(folder / 'annotations/train.json', folder / 'images'),
        tmp_path / 'train',
        progress=False,
    )
    config = load_config('efficientdet-lite0', label_overrides(tmp_path / 'train'))
    result = overfit(tmp_path / 'train', config, weights='imagenet')
    assert result.passed and result.findings == [], result
