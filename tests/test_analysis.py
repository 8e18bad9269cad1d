"""Analysis of evaluations: hand-made cases that can be counted, and pycocotools' own numbers."""

import math

import numpy as np
import pytest
from test_evaluation import coco_reference

from keras_efficientdet.evaluation import analysis
from keras_efficientdet.evaluation.coco import coco_run, metrics_of

NAMES = {3: 'ant', 7: 'bee', 5: 'cow'}  # COCO's order is that of the ids: ant, cow, bee
ANT, COW, BEE, BACKGROUND = range(4)


def box(x, k, width=10, crowd=0):
    return {'bbox': [x, 0, width, 10], 'category_id': k, 'iscrowd': crowd, 'area': width * 10}


def hit(image, x, k, score, width=10):
    return {'image_id': image, 'category_id': k, 'bbox': [x, 0, width, 10], 'score': score}


def hand_made():
    """Three images with each kind of error a known number of times, at threshold 0.5."""
    truth = [
        (11, [box(0, 3), box(100, 3), box(200, 7), box(300, 7, crowd=1)]),
        (12, [box(0, 5), box(100, 3)]),
        (13, []),
    ]
    found = [
        hit(11, 0, 3, 0.9),
        hit(11, 1, 3, 0.8),  # found, then found again: a duplicate
        hit(11, 106, 3, 0.7),  # 4 of 16 in common: badly placed, so the second ant is no miss
        hit(11, 201, 3, 0.95),  # the bee taken for an ant
        hit(11, 300, 7, 0.99),  # in a crowd: does not count
        hit(12, 1, 5, 0.6),  # found
        hit(12, 5, 7, 0.55),  # a third of the cow, as a bee: wrong class and place
        hit(12, 100, 3, 0.4),  # found, but below the threshold: a miss
        hit(13, 50, 7, 0.65),
    ]  # nothing is there
    return coco_run(truth, found, NAMES)


@pytest.fixture(scope='module')
def matches():
    return analysis.matches_of(hand_made())


def test_matches_are_those_of_coco(matches):
    assert matches.names == ('ant', 'cow', 'bee') and matches.image_ids == (11, 12, 13)
    assert sorted(matches.scores) == [
        0.4,
        0.55,
        0.6,
        0.65,
        0.7,
        0.8,
        0.9,
        0.95,
    ]  # all but that in the crowd
    owned = {
        score: tuple(matches.true_boxes[o])
        for score, o in zip(matches.scores, matches.owner, strict=True)
        if o >= 0
    }
    assert owned == {0.9: (0, 0, 10, 10), 0.6: (0, 0, 10, 10), 0.4: (100, 0, 10, 10)}
    assert np.bincount(matches.box_classes).tolist() == [3, 1, 1]


def test_counts_and_f1(matches):
    found, alarms, missed = analysis.counts(matches, np.array([0.0, 0.4, 0.401, 0.9, 0.901]))
    assert found[ANT].tolist() == [2, 2, 1, 1, 0] and alarms[ANT].tolist() == [3, 3, 3, 1, 1]
    assert missed[ANT].tolist() == [1, 1, 2, 2, 3] and missed[BEE].tolist() == [1] * 5
    assert analysis.f1(2, 3, 1) == pytest.approx(2 * 2 / (4 + 3 + 1)) and math.isnan(
        analysis.f1(0, 0, 0)
    )


def test_confusion(matches):
    table = analysis.confusion(matches, 0.5)
    wanted = np.zeros((4, 4), int)
    wanted[ANT, ANT] = wanted[COW, COW] = 1
    wanted[BEE, ANT] = 1
    wanted[ANT, BACKGROUND] = 2
    wanted[BACKGROUND, ANT], wanted[BACKGROUND, BEE] = 2, 2
    np.testing.assert_array_equal(table, wanted)
    assert (
        analysis.confusion(matches, 2.0).sum()
        == analysis.confusion(matches, 2.0)[:, BACKGROUND].sum()
        == 5
    )


def test_every_kind_of_error_once(matches):
    assert analysis.error_kinds(matches, 0.5) == {
        'localisation': 1,
        'class': 1,
        'class and place': 1,
        'duplicate': 1,
        'background': 1,
        'missed': 1,
    }
    assert (
        analysis.error_kinds(matches, 0.3)['missed'] == 0
        and analysis.error_kinds(matches, 2.0)['missed'] == 5
    )


def test_worst_images(matches):
    found, alarms, missed = analysis.image_errors(matches, 0.5)
    assert (found.tolist(), alarms.tolist(), missed.tolist()) == ([1, 1, 0], [3, 1, 1], [2, 1, 0])
    assert analysis.worst_images(matches, 0.5, 5) == [0, 1, 2] and analysis.worst_images(
        matches, 0.5, 1
    ) == [0]
    assert analysis.worst_images(matches, 0.93, 5) == [0, 1]  # the third has no error left


def test_best_thresholds_of_a_case_with_known_ones():
    truth = [(1, [box(0, 3), box(100, 3), box(200, 5)])]
    found = [
        hit(1, 0, 3, 0.8),
        hit(1, 100, 3, 0.5),
        hit(1, 50, 3, 0.3),
        hit(1, 70, 3, 0.4995),
        hit(1, 200, 5, 0.2),
        hit(1, 0, 5, 0.1),
    ]
    scores = analysis.scores_of(analysis.matches_of(coco_run(truth, found, NAMES)))
    assert scores.thresholds[ANT] == pytest.approx(0.5) and scores.thresholds[COW] == pytest.approx(
        0.101
    )
    assert math.isnan(scores.thresholds[BEE]) and np.isnan(scores.f1[BEE]).all()
    assert scores.f1[ANT, [499, 500, 501]] == pytest.approx([4 / 5, 1, 2 / 3])
    assert scores.threshold == pytest.approx(
        0.101
    )  # mean (2/3 + 1) / 2; from .201 on half of the ants'
    assert scores.mean.max() == pytest.approx((2 / 3 + 1) / 2)


def test_nothing_found_and_nothing_there():
    for truth, found in (
        ([(1, [box(0, 3)])], []),
        ([(1, [])], [hit(1, 0, 3, 0.5)]),
        ([(1, [])], []),
    ):
        run = coco_run(truth, found, NAMES)
        matches = analysis.matches_of(run)
        scores = analysis.scores_of(matches)
        assert scores.threshold == 0 and scores.mean.max() == 0
        assert analysis.confusion(matches, 0.1).sum() == len(found) + len(truth[0][1])
        assert [row['boxes'] for row in analysis.class_table(run, matches, scores)] == [
            len(truth[0][1]),
            0,
            0,
        ]
        assert analysis.precision_curves(run)[1].shape == (3, 101)


def drawn(seed, images=30):
    """Boxes at random, detections near some of them, with ties in their scores."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for i in range(images):
        rows = [
            {
                'bbox': [*rng.uniform(0, 60, 2), *rng.uniform(8, 40, 2)],
                'category_id': int(rng.choice([3, 5, 7])),
                'iscrowd': int(rng.random() < 0.1),
                'area': 100.0,
            }
            for _ in range(rng.integers(0, 7))
        ]
        truth.append((i, rows))
        for row in rows * 2:
            found.append(
                {
                    'image_id': i,
                    'score': round(float(rng.random()), 2),
                    'bbox': (np.array(row['bbox']) + rng.normal(0, 3, 4)).clip(1).tolist(),
                    'category_id': row['category_id'] if rng.random() < 0.8 else 7,
                }
            )
    return coco_run(truth, found, NAMES)


@pytest.mark.parametrize(
    'make',
    [lambda: drawn(0), lambda: drawn(1), lambda: coco_run(*coco_reference())],
    ids=['drawn', 'drawn again', 'reference'],
)
def test_our_matches_and_curves_give_the_ap_of_pycocotools(make):
    run = make()
    matches, metrics = analysis.matches_of(run), metrics_of(run)
    recall, at_half, averaged = analysis.precision_curves(run)
    assert np.nanmean(at_half) == pytest.approx(metrics['AP50'], abs=1e-6)
    assert np.nanmean(averaged) == pytest.approx(metrics['AP'], abs=1e-6)
    for k, (name, row) in enumerate(metrics['per_class'].items()):
        boxes = int((matches.box_classes == k).sum())
        if not boxes:
            assert math.isnan(row['AP50'])
            continue
        assert name == matches.names[k]
        own = matches.classes == k
        order = np.argsort(-matches.scores[own], kind='stable')
        right = (matches.owner[own] >= 0)[order]
        precision = np.cumsum(right) / np.arange(1, len(right) + 1)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        reached = np.searchsorted(np.cumsum(right) / boxes, recall)
        ours = np.append(envelope, 0)[np.minimum(reached, len(envelope))]
        np.testing.assert_allclose(ours, at_half[k], atol=1e-9)
        assert ours.mean() == pytest.approx(row['AP50'], abs=1e-6)


@pytest.mark.parametrize('threshold', [0.0, 0.25, 0.5, 0.9])
def test_the_numbers_of_one_report_agree(threshold):
    matches = analysis.matches_of(drawn(2))
    found, alarms, missed = (c[:, 0] for c in analysis.counts(matches, np.array([threshold])))
    table = analysis.confusion(matches, threshold)
    np.testing.assert_array_equal(np.diag(table)[:-1], found)
    np.testing.assert_array_equal(table.sum(1)[:-1], found + missed)
    np.testing.assert_array_equal(table.sum(0)[:-1], found + alarms)
    per_image = analysis.image_errors(matches, threshold)
    assert [int(c.sum()) for c in per_image] == [found.sum(), alarms.sum(), missed.sum()]
    kinds = analysis.error_kinds(matches, threshold)
    assert sum(kinds.values()) - kinds['missed'] == alarms.sum() and kinds['missed'] <= missed.sum()


def test_class_table_is_read_at_the_best_threshold():
    run = drawn(3)
    matches = analysis.matches_of(run)
    scores = analysis.scores_of(matches)
    for k, row in enumerate(analysis.class_table(run, matches, scores)):
        assert row['F1'] == pytest.approx(scores.f1[k].max())
        assert row['F1'] == pytest.approx(
            2 * row['precision'] * row['recall'] / (row['precision'] + row['recall'])
        )
        assert (row['class'], row['AP']) == (
            matches.names[k],
            metrics_of(run)['per_class'][row['class']]['AP'],
        )
