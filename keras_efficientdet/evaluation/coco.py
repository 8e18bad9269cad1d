"""Detections -> COCO average precision, by pycocotools."""

import contextlib
import gc
import io
import math

import keras
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tqdm import tqdm

from keras_efficientdet.config import class_ids, class_names
from keras_efficientdet.network.detector import detect_batch
from keras_efficientdet.ops.coco_rows import coco_rows, xywh

STATISTICS = (
    'AP',
    'AP50',
    'AP75',
    'APs',
    'APm',
    'APl',
    'AR1',
    'AR10',
    'AR100',
    'ARs',
    'ARm',
    'ARl',
)


def evaluate(model, data, config=None, *, progress=True):
    """COCO figures of a network over an evaluation data set; every image counts once, with or without detections.

    Args:
      model: the result of `efficientdet`, or a function (images [B, H, W, 3], scale [B]) -> detections as `detect_batch`
        makes it.
      data: `dataset(..., training=False)`.
      config: default: the one that the model carries.
    Returns:
      the 12 COCO figures by name (STATISTICS), and 'per_class': {name: {'AP', 'AP50'}}. A figure for which there is no
      ground truth (no small objects, a class that does not occur) is nan.
    """
    config = config or model.detection_config
    truth, found = collect(model, data, config, progress=progress)
    return coco_figures(
        truth, found, dict(zip(class_ids(config.model), class_names(config.model), strict=True))
    )


def collect(model, data, config, *, progress=True):
    """Runs a network over an evaluation data set: (truth, found) as `coco_run` takes them. Arguments as of `evaluate`."""
    detect = detect_batch(model, config) if isinstance(model, keras.Model) else model
    truth, found = [], []
    ids = class_ids(config.model)
    for images, labels in tqdm(
        data, desc='evaluating', unit=' batches', disable=not progress, leave=False
    ):
        detections = {k: v.numpy() for k, v in detect(images, labels['scale']).items()}
        labels = {k: v.numpy() for k, v in labels.items()}
        for i, image_id in enumerate(labels['id'].tolist()):
            truth.append((image_id, _truth(labels, i, ids)))
            rows = (
                detections[k][i][: detections['count'][i]] for k in ('boxes', 'scores', 'classes')
            )
            found += coco_rows(image_id, *rows, ids)
    if detect is not model:
        del detect
        gc.collect()  # a graph stands in cycles, and is large
    return truth, found


def coco_figures(truth, found, label_map):
    """The figures of `evaluate` from ground truth and detections in COCO's own form; arguments as of `coco_run`."""
    return figures_of(coco_run(truth, found, label_map))


def coco_run(truth, found, label_map):
    """pycocotools' evaluation, run to its end: figures, precisions and matches stand in it.

    Args:
      truth: [(image id, [annotation without ids])], each image once; repeated image ids are an error.
      found: [{'image_id', 'category_id', 'bbox', 'score'}], bbox = x, y, width, height.
      label_map: {category id: name}.
    Returns:
      pycocotools.cocoeval.COCOeval; its classes stand in the order of their ids.
    Raises:
      ValueError: an image id occurs twice (evaluation would mix two images).
    """
    image_ids = [image_id for image_id, _ in truth]
    if len(set(image_ids)) != len(image_ids):
        raise ValueError(
            f'{len(image_ids) - len(set(image_ids))} image ids occur more than once in the evaluated data'
        )
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints what is returned here
        run = COCOeval(_coco(truth, label_map), None, 'bbox')
        run.cocoDt = _detections(run.cocoGt, found)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run


def figures_of(run):
    """The figures of `evaluate` out of a `coco_run`."""
    figures = {
        name: _or_nan(value) for name, value in zip(STATISTICS, run.stats.tolist(), strict=True)
    }
    return {**figures, 'per_class': _per_class(run)}


def names_of(run):
    """Names of the classes of a `coco_run`, in its order."""
    return tuple(category['name'] for category in run.cocoGt.loadCats(run.params.catIds))


def report(figures):
    """The figures as text, per class below."""
    lines = [
        '  '.join(f'{name} {figures[name]:.3f}' for name in STATISTICS[i : i + 6]) for i in (0, 6)
    ]
    width = max(map(len, figures['per_class']), default=0)
    return '\n'.join(
        lines
        + [
            f'  {name:<{width}}  AP {row["AP"]:.3f}  AP50 {row["AP50"]:.3f}'
            for name, row in figures['per_class'].items()
        ]
    )


def _truth(labels, i, ids):
    rows = labels['classes'][i] >= 0
    return [
        {'bbox': xywh(box), 'category_id': ids[c], 'iscrowd': int(crowd), 'area': float(area)}
        for box, c, crowd, area in zip(
            labels['boxes'][i][rows],
            labels['classes'][i][rows],
            labels['crowd'][i][rows],
            labels['area'][i][rows],
            strict=True,
        )
    ]


def _coco(truth, label_map):
    coco = COCO()
    annotations = [{**a, 'image_id': image_id} for image_id, rows in truth for a in rows]
    coco.dataset = {
        'images': [{'id': image_id} for image_id, _ in truth],
        'annotations': [{**a, 'id': i} for i, a in enumerate(annotations, 1)],
        'categories': [{'id': i, 'name': name} for i, name in label_map.items()],
    }
    coco.createIndex()
    return coco


def _detections(coco, found):
    if found:
        return coco.loadRes(found)
    empty = COCO()
    empty.dataset = {**coco.dataset, 'annotations': []}
    empty.createIndex()
    return empty


def _per_class(run):
    precision = run.eval['precision'][
        :, :, :, 0, -1
    ]  # [IoU, recall, class], all areas, 100 detections
    return {
        name: {'AP': _mean(precision[:, :, k]), 'AP50': _mean(precision[0, :, k])}
        for k, name in enumerate(names_of(run))
    }


def _mean(values):
    values = values[values > -1]
    return float(np.mean(values)) if values.size else math.nan


def _or_nan(value):
    return math.nan if value < 0 else value
