"""Metrics of classes of whole images, by hand."""

import numpy as np
import pytest

from keras_efficientdet.evaluation.coco import coco_run, metrics_of
from keras_efficientdet.evaluation.whole_images import accuracy, as_annotated


def annotation(category_id, box=(0, 0, 10, 20)):
    return {'category_id': category_id, 'bbox': list(box), 'area': box[2] * box[3], 'iscrowd': 0}


def row(image_id, category_id, score):
    return {
        'image_id': image_id,
        'category_id': category_id,
        'bbox': [0.0, 0.0, 99.0, 99.0],
        'score': score,
    }


TRUTH = [(1, [annotation(3)]), (2, [annotation(5)]), (3, [annotation(3)]), (4, [])]
FOUND = [row(1, 5, 0.2), row(1, 3, 0.7), row(2, 3, 0.6), row(2, 5, 0.4), row(3, 5, 0.9)]


def test_top_1_and_top_5():
    assert accuracy(TRUTH, FOUND) == pytest.approx({'top1': 1 / 3, 'top5': 2 / 3})


def test_the_sixth_class_is_too_late():
    rows = [row(1, k, 1 - k / 10) for k in range(1, 8)]
    found = {k: accuracy([(1, [annotation(k)])], rows)['top5'] for k in (1, 5, 6)}
    assert found == {1: 1.0, 5: 1.0, 6: 0.0}


def test_the_largest_box_is_the_class():
    truth = [(1, [annotation(5), annotation(3, (0, 0, 11, 20))])]
    assert accuracy(truth, FOUND)['top1'] == 1.0


def test_without_classes_it_is_nan():
    assert np.isnan(list(accuracy([(4, [])], FOUND).values())).all()


def test_boxes_take_no_part_in_ap():
    run = coco_run(TRUTH, as_annotated(TRUTH, FOUND), {3: 'a', 5: 'b'})
    metrics = metrics_of(run)
    # Class a: image 1 at .7, a mistake at .6, image 3 never found: precision 1 up to recall .5.
    assert metrics['per_class']['a']['AP'] == pytest.approx(51 / 101)
    # Class b: a mistake at .9, image 2 at .4 as the second: precision .5.
    assert metrics['per_class']['b']['AP'] == pytest.approx(0.5)
    assert metrics['AP'] == pytest.approx(metrics['AP50'])
