"""COCO metrics: pycocotools' published reference, the official metric, and what is counted."""

import json
import math

import memory_of_evaluations
import numpy as np
import official
import pytest

from keras_efficientdet.evaluation import analysis
from keras_efficientdet.evaluation.coco import (
    STATISTICS,
    coco_run,
    evaluate,
    metrics_of,
    metrics_text,
)

REFERENCE = {
    'AP': 0.503647,
    'AP50': 0.696973,
    'AP75': 0.571667,
    'APs': 0.593252,
    'APm': 0.557991,
    'APl': 0.489363,
    'AR1': 0.386813,
    'AR10': 0.593680,
    'AR100': 0.595353,
    'ARs': 0.654764,
    'ARm': 0.603130,
    'ARl': 0.553744,
}


def coco_reference():
    """(truth, found, label_map) of pycocotools' published example."""
    folder = official.DATA / 'coco_eval_ref'
    if not folder.is_dir():
        pytest.skip('coco_eval_ref is not here')
    truth, found = (
        json.loads((folder / name).read_text()) for name in ('gts.json', 'results.json')
    )
    rows = {image['id']: [] for image in truth['images']}
    for annotation in truth['annotations']:
        rows[annotation['image_id']].append(
            {k: annotation[k] for k in ('bbox', 'category_id', 'iscrowd', 'area')}
        )
    return list(rows.items()), found, {c['id']: c['name'] for c in truth['categories']}


def test_real_coco_reference():
    metrics = metrics_of(coco_run(*coco_reference()))
    for name in STATISTICS:
        assert metrics[name] == pytest.approx(REFERENCE[name], abs=1e-6), name


def official_rows(name):
    """(truth, found) of an official metric golden, image by image.

    Image ids are those that the official metric ended with. In id_minus1 it numbers the images
    itself; our ids come from the records.
    """
    arrays, entry = official.golden(f'func/{name}.npz'), official.index(f'func/{name}.npz')
    truth, found = [], []
    for i, (boxes, detections) in enumerate(
        zip(arrays['groundtruth'], arrays['detections'], strict=True)
    ):
        image_id = entry['dataset']['images'][i]['id']
        truth.append(
            (
                image_id,
                [
                    {
                        'bbox': [x1, y1, x2 - x1, y2 - y1],
                        'category_id': int(k),
                        'iscrowd': int(crowd),
                        'area': float((y2 - y1) * (x2 - x1)),
                    }
                    for y1, x1, y2, x2, crowd, _, k in boxes
                    if k > 0
                ],
            )
        )
        found += [
            {
                'image_id': image_id,
                'category_id': int(d[6]),
                'bbox': d[1:5].tolist(),
                'score': float(d[5]),
            }
            for d in detections
            if d[6] > 0
        ]
    return truth, found, arrays['metrics']


@pytest.mark.parametrize(
    'name',
    ['coco_metric_basic', 'coco_metric_id_minus1', 'coco_metric_perclass', 'coco_metric_random8'],
)
def test_official_metric(name):
    truth, found, metrics = official_rows(name)
    ids = sorted(
        {a['category_id'] for _, rows in truth for a in rows} | {d['category_id'] for d in found}
    )
    ours = metrics_of(coco_run(truth, found, {i: f'class {i}' for i in ids}))
    # The official metric has the AP of each class behind the 12 of COCO.
    for name, wanted in zip(STATISTICS, metrics, strict=False):
        if wanted == -1:
            assert math.isnan(ours[name]), name
        else:
            assert ours[name] == pytest.approx(float(wanted), abs=1e-6), name


def fake(boxes_of):
    """A detector function that returns given boxes by image id, hidden in the scale."""

    def detect(_, scale):
        rows = [boxes_of[int(s)] for s in np.asarray(scale)]
        return {
            'boxes': Array([r[0] for r in rows]),
            'classes': Array([r[1] for r in rows]),
            'scores': Array([r[2] for r in rows]),
            'count': Array([r[3] for r in rows]),
        }

    return detect


class Array(np.ndarray):
    """Looks like a tensor to `evaluate`."""

    def __new__(cls, values):
        return np.asarray(values).view(cls)

    def numpy(self):
        return np.asarray(self)


def batches(examples, size):
    keys = ('boxes', 'classes', 'crowd', 'area', 'scale', 'id')
    for start in range(0, len(examples), size):
        part = examples[start : start + size]
        yield np.zeros((len(part), 8, 8, 3)), {k: Array([e[k] for e in part]) for k in keys}


def perfect(count, config):
    """`count` examples with one box each, and a detector that finds them."""
    examples, found = [], {}
    for i in range(count):
        box, k = [10.0 + i, 20.0, 60.0 + i, 90.0], i % config.model.num_classes
        examples.append(
            {
                'boxes': [box, [0.0] * 4],
                'classes': [k, -1],
                'crowd': [False, False],
                'area': [3500.0, 0.0],
                'scale': float(i),
                'id': 10236529664 + i,
            }
        )
        found[i] = ([box, box], [k, 0], [0.9, 0.0], 1)
    return examples, found


@pytest.fixture
def config():
    from keras_efficientdet import load_config

    return load_config(
        'efficientdet-d0', {'num_classes': 3, 'label_map': {1: 'ant', 578: 'bee', 621: 'cow'}}
    )


def test_seven_images_in_batches_of_four_are_all_counted(config):
    examples, found = perfect(7, config)
    metrics = evaluate(fake(found), list(batches(examples, 4)), config, progress=False)
    assert metrics['AP'] == pytest.approx(1.0)
    assert set(metrics['per_class']) == {'ant', 'bee', 'cow'}
    found[6] = (
        found[6][0],
        found[6][1],
        [0.0, 0.0],
        0,
    )  # the tail counts: one image without detections
    lower = evaluate(fake(found), list(batches(examples, 4)), config, progress=False)
    assert lower['AR100'] == pytest.approx((2 / 3 + 1 + 1) / 3)


def test_wrong_class_ids_give_no_precision(config):
    examples, found = perfect(6, config)
    shifted = {i: (b, [(k[0] + 1) % 3, 0], s, n) for i, (b, k, s, n) in found.items()}
    assert evaluate(fake(shifted), list(batches(examples, 4)), config, progress=False)[
        'AP'
    ] == pytest.approx(0.0)


def test_what_does_not_occur_is_nan_and_no_detections_is_zero(config):
    examples, found = perfect(2, config)
    metrics = evaluate(
        fake({i: (b, k, s, 0) for i, (b, k, s, _) in found.items()}),
        list(batches(examples, 2)),
        config,
        progress=False,
    )
    assert (
        metrics['AP'] == 0
        and math.isnan(metrics['APs'])
        and math.isnan(metrics['per_class']['cow']['AP'])
    )
    assert 'cow  AP nan' in metrics_text(metrics)


def test_classes_of_one_name_are_told_apart():
    """Two categories are called dog: tables of classes have a row for each, in the order of ids."""

    def box(x, k, **more):
        return {'bbox': [x, 0, 10, 10], 'category_id': k, **more}

    truth = [(1, [box(0, k, iscrowd=0, area=100) for k in (1, 2, 3)])]
    found = [box(0, k, image_id=1, score=0.9) for k in (1, 3)]
    run = coco_run(truth, found, {1: 'dog', 2: 'dog', 3: 'van'})
    per_class = metrics_of(run)['per_class']
    assert {name: row['AP'] for name, row in per_class.items()} == {
        'dog (1)': pytest.approx(1),
        'dog (2)': 0,
        'van': pytest.approx(1),
    }
    matches = analysis.matches_of(run)
    table = analysis.class_table(run, matches, analysis.scores_of(matches))
    assert [row['recall'] for row in table] == [1, 0, 1]
    assert [row['AP50'] for row in table] == [pytest.approx(1), 0, pytest.approx(1)]


def test_repeated_image_ids_are_refused(config):
    examples, found = perfect(2, config)
    examples[1]['id'] = examples[0]['id']
    with pytest.raises(ValueError, match='1 of them with the id of another'):
        evaluate(fake(found), list(batches(examples, 2)), config, progress=False)


@pytest.mark.parametrize(
    'way, count',
    [
        ('evaluate', 6),
        pytest.param('evaluate', 20, marks=pytest.mark.slow),
        pytest.param('fit', 20, marks=pytest.mark.slow),
    ],
)
def test_evaluations_leave_no_memory_behind(way, count, tmp_path):
    """In this process: memory that earlier tests have freed can only make growth look smaller."""
    after = memory_of_evaluations.after_evaluations(
        way, count, memory_of_evaluations.drawn_records(tmp_path)
    )
    assert len(after) == count and after[-1] - after[1] < 50, after
