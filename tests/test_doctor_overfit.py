"""The self-test on eight pictures: what it chooses, what it says where it fails, and that it passes on real photographs."""
import csv

import drawn
import pytest
from planted import LABELS, configured, photos

from keras_efficientdet import DataError, load_config, read_coco, write_records
from keras_efficientdet.cache import label_overrides
from keras_efficientdet.doctor.overfit import choose, overfit
from keras_efficientdet.doctor.pictures import split_of_records


def test_pictures_of_all_classes_are_chosen_and_crowded_ones_left(tmp_path):
    def boxes(category, count=1, **more):
        return [drawn.box(5 * i, 5 * i, 20, 20, category, **more) for i in range(count)]
    folder = drawn.records(tmp_path, [(60, 60, []), (60, 60, boxes(1, 5)), (60, 60, boxes(1)), (60, 60, boxes(2, iscrowd=1)),
                                      (60, 60, boxes(2)), (60, 60, boxes(1) + boxes(3)), (60, 60, boxes(1, 2))], LABELS)
    pictures = split_of_records('train', folder).pictures
    assert [i for i, _ in choose(pictures, 2)] == [4, 5]
    assert [i for i, _ in choose(pictures, 4)] == [2, 4, 5, 6]
    assert [p.id for _, p in choose(pictures)] == ['2', '3', '5', '6', '7']
    with pytest.raises(DataError, match='no picture has a box'):
        choose(pictures[:1])


@pytest.mark.slow
def test_what_it_says_where_it_fails(tmp_path):
    """Twenty-five steps from random weights teach nothing; the curve and the reasons are there."""
    folder = drawn.records(tmp_path, photos(10, 3), LABELS)
    result = overfit(folder, configured(image_size=64, fpn_cell_repeats=1, box_class_repeats=1, num_epochs=1), steps=25)
    assert not result.passed and [row['step'] for row in result.curve] == [25] and result.seconds > 0
    first = result.findings[0]
    assert first.severity == 'error' and first.found.startswith(f'AP50 {result.ap50:.2f} after 25 steps on 8 pictures; loss from')
    assert 'not learned: ' in result.findings[1].found and any(f.key == 'anchors' for f in result.findings)
    result.save_curve(tmp_path / 'curve.csv')
    (row,) = csv.DictReader((tmp_path / 'curve.csv').open())
    assert (row['epoch'], row['step']) == ('1', '25')
    assert float(row['val_AP50']) == result.ap50 and float(row['loss']) == result.curve[0]['loss']


@pytest.mark.slow
def test_eight_real_photographs_are_learned_by_heart(real, tmp_path):
    folder = real('voc100')
    write_records(read_coco(folder / 'annotations/train.json', folder / 'images'), tmp_path / 'train', progress=False)
    config = load_config('efficientdet-lite0', label_overrides(tmp_path / 'train'))
    result = overfit(tmp_path / 'train', config, weights='imagenet')
    assert result.passed and result.findings == [], result
