"""PCK, mean error and AP of key points, by hand."""

import numpy as np
import pytest

from keras_efficientdet.evaluation import coco, point_metrics

SIDES = {1: 200.0, 2: 100.0}


def annotated(*points):
    return [
        {'bbox': [x, y, 0.0, 0.0], 'category_id': k, 'iscrowd': 0, 'area': 1.0}
        for x, y, k in points
    ]


def detected(image_id, x, y, k, score):
    return {'image_id': image_id, 'category_id': k, 'bbox': [x, y, 0.0, 0.0], 'score': score}


def evaluated(truth, found):
    return point_metrics.as_squares(truth, found, SIDES)


def test_distances_are_parts_of_the_side():
    truth = [(1, annotated((50, 50, 1), (100, 100, 2))), (2, annotated((10, 10, 1)))]
    found = [
        detected(1, 53, 54, 1, 0.9),  # 5 pixels of 200
        detected(2, 10, 12, 1, 0.9),  # 2 pixels of 100
    ]
    away = point_metrics.distances(*evaluated(truth, found))
    np.testing.assert_allclose(away, [0.025, 1.0, 0.02])
    metrics = point_metrics.metrics(*evaluated(truth, found))
    assert metrics == pytest.approx({'PCK': 2 / 3, 'mean_error': (0.025 + 1.0 + 0.02) / 3})


def test_the_best_scores_choose_first_and_take_what_is_nearest():
    truth = [(1, annotated((50, 50, 1), (90, 50, 1)))]
    found = [
        detected(1, 88, 50, 1, 0.9),  # takes (90, 50)
        detected(1, 90, 50, 1, 0.8),  # too late: takes (50, 50)
        detected(1, 50, 50, 1, 0.7),  # nothing is left
    ]
    away = point_metrics.distances(*evaluated(truth, found))
    np.testing.assert_allclose(away, [0.2, 0.01])


def test_a_point_of_another_class_is_none():
    truth = [(1, annotated((50, 50, 1)))]
    found = [detected(1, 50, 50, 2, 0.9)]
    assert point_metrics.metrics(*evaluated(truth, found)) == {'PCK': 0.0, 'mean_error': 1.0}


def test_without_points_they_are_nan():
    found = point_metrics.metrics(*evaluated([(1, [])], []))
    assert all(np.isnan(value) for value in found.values())


@pytest.mark.parametrize(('away', 'ap'), [(9.0, 1.0), (11.0, 0.0)])
def test_ap50_counts_points_within_a_twentieth(away, ap):
    """Of 200 pixels: 10 in one direction."""
    truth = [(1, annotated((50, 50, 1)))]
    run = coco.coco_run(*evaluated(truth, [detected(1, 50 + away, 50, 1, 0.9)]), {1: 'tip'})
    assert coco.metrics_of(run)['AP50'] == pytest.approx(ap)
