"""Detections -> COCO average precision, by pycocotools."""

import collections
import collections.abc
import contextlib
import gc
import io
import math

import keras
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tqdm import tqdm

from keras_efficientdet.config import Config, class_ids, class_names
from keras_efficientdet.evaluation import point_metrics, whole_images
from keras_efficientdet.evaluation.mask_metrics import MaskCounts, mask_counts
from keras_efficientdet.network.detector import detect_batch
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.ops.coco_rows import coco_rows, xywh

# Names of COCO's 12 summary metrics, in the order of pycocotools' `stats`.
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

# Names of the metrics of `other_metrics` that are numbers.
OTHERS = ('top1', 'top5', 'mIoU', 'PCK', 'mean_error')


def evaluate(
    model: keras.Model | collections.abc.Callable,
    data: collections.abc.Iterable,
    config: Config | None = None,
    *,
    progress: bool = True,
) -> dict:
    """COCO metrics of a network on an evaluation data set.

    Every image counts once, with or without detections.

    Args:
      model: the result of `efficientdet`, or a function (images float32 [B, H, W, 3], scale
        float32 [B]) -> detections, as `detect_batch` makes it.
      data: `dataset(..., training=False)`.
      config: default: the one that the model carries; needed with a function.
      progress: whether to show a progress bar.
    Returns:
      The 12 COCO metrics by name (STATISTICS), and 'per_class': {class name: {'AP', 'AP50'}}. A
      metric without ground truth (no small objects, a class that does not occur) is nan. For
      classifiers also 'top1' and 'top5', and AP is that of the classes, whatever the boxes. For
      heads with masks also 'mIoU', and 'IoU': {class name: float} with the background. For key
      points also 'PCK' and 'mean_error' (`point_metrics.metrics`), and AP is that of squares.
    Raises:
      ValueError: two images have the same id.
    """
    config = config or model.detection_config  # type: ignore[union-attr]
    masks = mask_counts(config)
    truth, found = collect(model, data, config, progress=progress, masks=masks)
    metrics = metrics_of(coco_run(truth, found, label_map_of(config)))
    return {**other_metrics(truth, found, config, masks), **metrics}


def other_metrics(truth: list, found: list, config: Config, masks: MaskCounts | None) -> dict:
    """The metrics of a head that are not COCO's; arguments as `collect` returns them."""
    of_masks = masks.metrics() if masks else {}
    if head_of(config).finds == 'images':
        return {**of_masks, **whole_images.accuracy(truth, found)}
    if head_of(config).finds == 'points':
        return {**of_masks, **point_metrics.metrics(truth, found)}
    return of_masks


def label_map_of(config: Config) -> dict[int, str]:
    """{category id: class name} of a Config."""
    return dict(zip(class_ids(config.model), class_names(config.model), strict=True))


def collect(
    model, data, config: Config, *, progress: bool = True, masks: MaskCounts | None = None
) -> tuple[list, list]:
    """Runs a network on an evaluation data set: (truth, found), the arguments of `coco_run`.

    Arguments as of `evaluate`; `masks` counts what was found in masks.
    """
    detect = detect_batch(model, config) if isinstance(model, keras.Model) else model
    ids = class_ids(config.model)
    truth, found, sides = [], [], {}
    batches = tqdm(data, desc='evaluating', unit=' batches', disable=not progress, leave=False)
    for images, labels in batches:
        detections = {key: value.numpy() for key, value in detect(images, labels['scale']).items()}
        labels = {key: value.numpy() for key, value in labels.items()}
        if masks and 'mask' in detections:
            masks.add_batch(labels, detections)
        for i, image_id in enumerate(labels['id'].tolist()):
            truth.append((image_id, _truth(labels, i, ids)))
            sides[image_id] = float(labels['scale'][i]) * max(config.model.image_size)
            found += _found(detections, i, image_id, ids)
    if head_of(config).finds == 'images':
        found = whole_images.as_annotated(truth, found)
    if head_of(config).finds == 'points':
        truth, found = point_metrics.as_squares(truth, found, sides)
    if detect is not model:
        # The traced graph of `detect` is large and part of reference cycles: without this, memory
        # grows with every evaluation until Python happens to collect them.
        del detect
        gc.collect()
    return truth, found


def coco_run(truth: list, found: list, label_map: collections.abc.Mapping[int, str]) -> COCOeval:
    """pycocotools' evaluation, run to its end: it holds metrics, precisions and matches.

    Args:
      truth: [(image id, [annotation without ids])], each image once.
      found: [{'image_id', 'category_id', 'bbox', 'score'}], bbox = x, y, width, height.
      label_map: {category id: name}.
    Returns:
      pycocotools.cocoeval.COCOeval; its classes are in the order of their category ids.
    Raises:
      ValueError: an image id occurs twice (evaluation would mix two images).
    """
    repeated = len(truth) - len({image_id for image_id, _ in truth})
    if repeated:
        raise ValueError(
            f'the evaluated data: found {len(truth)} images, {repeated} of them with the id of '
            'another; expected an id of its own for each. Convert the data set again with unique '
            'image ids'
        )
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints what is returned here
        run = COCOeval(_coco(truth, label_map), None, 'bbox')
        run.cocoDt = _detections(run.cocoGt, found)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run


def metrics_of(run: COCOeval) -> dict:
    """The metrics of a `coco_run`, as `evaluate` returns them."""
    metrics = {}
    for name, value in zip(STATISTICS, run.stats.tolist(), strict=True):
        metrics[name] = math.nan if value < 0 else value  # pycocotools: -1 without ground truth
    return {**metrics, 'per_class': _per_class(run)}


def names_of(run: COCOeval) -> tuple[str, ...]:
    """Class names of a `coco_run`, in its order.

    Where classes share a name, the category id is added, so that every class has a name of its own.
    """
    categories = run.cocoGt.loadCats(run.params.catIds)
    counts = collections.Counter(category['name'] for category in categories)
    names = []
    for category in categories:
        name = category['name']
        names.append(name if counts[name] == 1 else f'{name} ({category["id"]})')
    return tuple(names)


def metrics_text(metrics: dict) -> str:
    """The metrics of `evaluate` as text: COCO's in two lines, then a line for each class."""
    lines = []
    if 'top1' in metrics:
        lines.append(f'top-1 {metrics["top1"]:.3f}  top-5 {metrics["top5"]:.3f}')
    if 'PCK' in metrics:
        lines.append(f'PCK {metrics["PCK"]:.3f}  mean error {metrics["mean_error"]:.4f}')
    if 'mIoU' in metrics:
        of_class = '  '.join(f'{name} {value:.3f}' for name, value in metrics['IoU'].items())
        lines.append(f'mIoU {metrics["mIoU"]:.3f}  {of_class}')
    for names in (STATISTICS[:6], STATISTICS[6:]):
        lines.append('  '.join(f'{name} {metrics[name]:.3f}' for name in names))
    width = max(map(len, metrics['per_class']), default=0)
    for name, row in metrics['per_class'].items():
        lines.append(f'  {name:<{width}}  AP {row["AP"]:.3f}  AP50 {row["AP50"]:.3f}')
    return '\n'.join(lines)


def _found(detections, i, image_id, ids):
    """Detections of image `i` of a batch in COCO's form, without the padding."""
    count = detections['count'][i]
    boxes, scores, classes = (detections[key][i][:count] for key in ('boxes', 'scores', 'classes'))
    return coco_rows(image_id, boxes, scores, classes, ids)


def _truth(labels, i, ids):
    """Annotations of image `i` of a batch in COCO's form, without the padding."""
    real = labels['classes'][i] >= 0
    boxes, classes, crowd, area = (
        labels[key][i][real] for key in ('boxes', 'classes', 'crowd', 'area')
    )
    return [
        {'bbox': xywh(box), 'category_id': ids[k], 'iscrowd': int(is_crowd), 'area': float(pixels)}
        for box, k, is_crowd, pixels in zip(boxes, classes, crowd, area, strict=True)
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
    # precision is [IoU, recall, class, area, number of detections]: all areas, 100 detections
    precision = run.eval['precision'][:, :, :, 0, -1]
    return {
        name: {'AP': _mean(precision[:, :, k]), 'AP50': _mean(precision[0, :, k])}
        for k, name in enumerate(names_of(run))
    }


def _mean(precision):
    known = precision[precision > -1]  # -1: the class does not occur
    return float(np.mean(known)) if known.size else math.nan
