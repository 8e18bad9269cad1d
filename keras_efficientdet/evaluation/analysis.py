"""What an evaluation tells beyond AP: curves, confused classes, kinds of errors, worst images.

All of it is derived from one `coco.coco_run`. The matches at IoU 0.5 are COCO's own, so the numbers
of one report agree.
"""

import collections
import typing

import numpy as np
from pycocotools import mask

from keras_efficientdet.evaluation.coco import metrics_of, names_of

IOU = 0.5
# IoU from which a false alarm is a badly placed box, not background (TIDE, Bolya et al. 2020).
TOUCHING = 0.1
THRESHOLDS = np.linspace(0.0, 1.0, 1001)
ERRORS = ('localisation', 'class', 'class and place', 'duplicate', 'background', 'missed')


class Matches(typing.NamedTuple):
    """The detections and ground truth boxes of an evaluation, and which belong together.

    Images and classes are indices into `image_ids` and `names`. Crowd regions are not among the
    boxes, and detections that COCO ignores (in crowd regions, or beyond 100 of a class in an image)
    are not among the detections.
    """

    scores: np.ndarray  # float [D]
    classes: np.ndarray  # int [D]
    images: np.ndarray  # int [D]
    boxes: np.ndarray  # float [D, 4] x, y, width, height
    owner: np.ndarray  # int [D], index of the box that it found, -1 for none
    box_classes: np.ndarray  # int [N]
    box_images: np.ndarray  # int [N]
    true_boxes: np.ndarray  # float [N, 4] x, y, width, height
    image_ids: tuple[int, ...]
    names: tuple[str, ...]


def matches_of(run) -> Matches:
    """The Matches of a `coco_run` at IoU 0.5, detections sorted by class, image and score."""
    image_ids, category_ids = list(run.params.imgIds), list(run.params.catIds)
    image_index = {image_id: i for i, image_id in enumerate(image_ids)}
    class_index = {category_id: k for k, category_id in enumerate(category_ids)}
    annotations = [a for a in run.cocoGt.dataset['annotations'] if not a['iscrowd']]
    box_index = {annotation['id']: i for i, annotation in enumerate(annotations)}
    box_index[0] = -1  # pycocotools marks a detection without a match by id 0
    found, owner = [], []
    for result in _results_of_all_areas(run):
        # [0]: the first IoU threshold, 0.5
        rows = zip(result['dtIds'], result['dtMatches'][0], result['dtIgnore'][0], strict=True)
        for detection_id, match, ignored in rows:
            if not ignored:
                found.append(run.cocoDt.anns[detection_id])
                owner.append(box_index[int(match)])
    classes, images, boxes = _columns(found, class_index, image_index)
    box_classes, box_images, true_boxes = _columns(annotations, class_index, image_index)
    return Matches(
        scores=np.array([detection['score'] for detection in found], float),
        classes=classes,
        images=images,
        boxes=boxes,
        owner=np.array(owner, int),
        box_classes=box_classes,
        box_images=box_images,
        true_boxes=true_boxes,
        image_ids=tuple(image_ids),
        names=names_of(run),
    )


def _results_of_all_areas(run):
    """pycocotools' results for objects of any area, by class and image; empty ones left out."""
    images = len(run.params.imgIds)
    per_class = len(run.params.areaRng) * images  # `evalImgs` is [class, area, image], flat
    for k in range(len(run.params.catIds)):
        start = k * per_class  # the first area is 'all'
        yield from (result for result in run.evalImgs[start : start + images] if result)


def _columns(rows, class_index, image_index):
    """(classes int [D], images int [D], boxes float [D, 4]) of annotations in COCO's form."""
    return (
        np.array([class_index[row['category_id']] for row in rows], int),
        np.array([image_index[row['image_id']] for row in rows], int),
        np.array([row['bbox'] for row in rows], float).reshape(-1, 4),
    )


def precision_curves(run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision over recall, of which AP50 and AP are the means.

    Returns:
      recalls [101], precision at IoU 0.5 [K, 101], precision averaged over IoU 0.5 to 0.95
      [K, 101]. Classes that do not occur are nan.
    """
    # precision is [IoU, recall, class, area, number of detections]: all areas, 100 detections
    precision = run.eval['precision'][:, :, :, 0, -1]
    precision = np.where(precision < 0, np.nan, precision)
    return run.params.recThrs, precision[0].T, precision.mean(0).T


def counts(matches, thresholds=THRESHOLDS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(found, false alarms, missed), each int [K, T], of detections with at least these scores."""
    right = matches.owner >= 0
    shape = len(matches.names), len(thresholds)
    found, alarms = np.zeros(shape, int), np.zeros(shape, int)
    for k in range(len(matches.names)):
        own = matches.classes == k
        found[k] = _at_least(matches.scores[own & right], thresholds)
        alarms[k] = _at_least(matches.scores[own & ~right], thresholds)
    boxes = np.bincount(matches.box_classes, minlength=len(found))
    return found, alarms, boxes[:, None] - found


def _at_least(scores, thresholds):
    return len(scores) - np.searchsorted(np.sort(scores), thresholds)


def f1(found, alarms, missed) -> np.ndarray:
    """F1 score of counts of any shape; nan where there is neither a box nor a detection."""
    total = 2 * found + alarms + missed
    return np.divide(2 * found, total, out=np.full(np.shape(total), np.nan), where=total > 0)


class Scores(typing.NamedTuple):
    """F1 over THRESHOLDS, and the lowest threshold at which it is best.

    Classes without boxes are nan.
    """

    f1: np.ndarray  # [K, T]
    mean: np.ndarray  # [T], over the classes that occur, as for AP
    threshold: float  # that of the best mean
    thresholds: np.ndarray  # [K], the best of each class


def scores_of(matches) -> Scores:
    """The Scores of an evaluation."""
    found, alarms, missed = counts(matches)
    curves = np.where(found + missed > 0, f1(found, alarms, missed), np.nan)
    occurs = ~np.isnan(curves[:, 0])
    mean = curves[occurs].mean(0) if occurs.any() else np.zeros(len(THRESHOLDS))
    best = THRESHOLDS[np.argmax(np.nan_to_num(curves), 1)]
    return Scores(
        f1=curves,
        mean=mean,
        threshold=float(THRESHOLDS[np.argmax(mean)]),
        thresholds=np.where(occurs, best, np.nan),
    )


def class_table(run, matches, scores) -> list[dict]:
    """A row for each class: class, AP, AP50, boxes, threshold, F1, precision, recall.

    The last three are those at the threshold of the class.
    """
    table = []
    for k, (name, metrics) in enumerate(metrics_of(run)['per_class'].items()):
        threshold = scores.thresholds[k : k + 1]
        found, alarms, missed = (int(count[k, 0]) for count in counts(matches, threshold))
        table.append(
            {
                'class': name,
                **metrics,
                'boxes': found + missed,
                'threshold': float(threshold[0]),
                'F1': float(f1(found, alarms, missed)),
                'precision': _share(found, found + alarms),
                'recall': _share(found, found + missed),
            }
        )
    return table


def _share(part, whole):
    return part / whole if whole else float('nan')


def confusion(matches, threshold) -> np.ndarray:
    """Confusion matrix of the detections with at least this score.

    The diagonal is what COCO counts as found. The remaining detections and boxes are paired across
    classes, highest IoU (>= 0.5) first: a box that was taken for another class. What then has no
    partner is a miss (last column) or a false alarm (last row).

    Returns:
      int [K + 1, K + 1]: true class by found class, background last.
    """
    background = len(matches.names)
    table = np.zeros((background + 1, background + 1), int)
    shown, right, lost = _outcome(matches, threshold)
    np.add.at(table, (matches.classes[right], matches.classes[right]), 1)
    wrong = np.flatnonzero(shown & ~right)
    boxes_left, wrong_left = set(lost.tolist()), set(wrong.tolist())
    pairs = sorted(_overlaps(matches, wrong, lost, IOU), key=lambda pair: -pair[2])
    for d, b, _ in pairs:
        if d in wrong_left and b in boxes_left:
            wrong_left.remove(d)
            boxes_left.remove(b)
            table[matches.box_classes[b], matches.classes[d]] += 1
    np.add.at(table, (background, matches.classes[sorted(wrong_left)]), 1)
    np.add.at(table, (matches.box_classes[sorted(boxes_left)], background), 1)
    return table


def _outcome(matches, threshold):
    """What detections with at least this score amount to.

    Returns: (shown bool [D], those that found a box bool [D], indices of the boxes not found).
    """
    shown = matches.scores >= threshold
    right = shown & (matches.owner >= 0)
    lost = np.setdiff1d(np.arange(len(matches.box_classes)), matches.owner[right])
    return shown, right, lost


def _overlaps(matches, detections, boxes, least):
    """Yields (detection, box, IoU) for all pairs in one image with at least this IoU."""
    of_image = collections.defaultdict(list)
    for b in boxes:
        of_image[matches.box_images[b]].append(b)
    for d in detections:
        near = of_image.get(matches.images[d], [])
        if not near:
            continue
        not_crowd = [0] * len(near)
        ious = mask.iou(matches.boxes[d : d + 1], matches.true_boxes[near], not_crowd)[0]
        yield from ((d, b, iou) for b, iou in zip(near, ious, strict=True) if iou >= least)


def error_kinds(matches, threshold) -> dict[str, int]:
    """{kind: count} for ERRORS, the kinds of TIDE (Bolya et al. 2020), at a score threshold.

    A false alarm is 'localisation' (a box of its class at IoU 0.1 to 0.5), 'class' (a box of
    another class at IoU >= 0.5), 'class and place' (another class at IoU 0.1 to 0.5), 'duplicate'
    (of a box that a better detection found) or 'background'. A box that was not found, and that no
    'localisation' or 'class' error explains, is 'missed'.
    """
    shown, right, lost = _outcome(matches, threshold)
    wrong = np.flatnonzero(shown & ~right)
    near = collections.defaultdict(list)
    for d, b, iou in _overlaps(matches, wrong, range(len(matches.box_classes)), TOUCHING):
        near[d].append((iou, b))
    kinds: collections.Counter = collections.Counter()
    explained = set()
    for d in wrong:
        kind, box = _kind(matches.classes[d], near[d], matches.box_classes)
        kinds[kind] += 1
        if kind in ('localisation', 'class'):
            explained.add(box)
    kinds['missed'] = len(set(lost.tolist()) - explained)
    return {kind: kinds[kind] for kind in ERRORS}


def _kind(found_class, near, box_classes):
    """(kind of a false alarm, index of the box it is about or None).

    near: [(IoU, box index)] of the boxes that it touches.
    """
    none = (0.0, None)
    same = max((pair for pair in near if box_classes[pair[1]] == found_class), default=none)
    other = max((pair for pair in near if box_classes[pair[1]] != found_class), default=none)
    if TOUCHING <= same[0] < IOU and other[0] < IOU:
        return 'localisation', same[1]
    if same[0] >= IOU:
        return 'duplicate', same[1]
    if other[0] >= IOU:
        return 'class', other[1]
    if other[0] >= TOUCHING:
        return 'class and place', other[1]
    return 'background', None


def image_errors(matches, threshold) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(found, false alarms, missed), each int [I], of every image at a score threshold."""
    shown, right, lost = _outcome(matches, threshold)
    images = len(matches.image_ids)
    return (
        np.bincount(matches.images[right], minlength=images),
        np.bincount(matches.images[shown & ~right], minlength=images),
        np.bincount(matches.box_images[lost], minlength=images),
    )


def worst_images(matches, threshold, count) -> list[int]:
    """Indices of the images with the most misses and false alarms; none without an error.

    Images with equally many errors are sorted by F1, the lowest first.
    """
    found, alarms, missed = image_errors(matches, threshold)
    errors = alarms + missed
    order = np.lexsort((np.nan_to_num(f1(found, alarms, missed)), -errors))
    return [int(i) for i in order[:count] if errors[i]]
