"""What an evaluation says beyond AP: curves over the score, confused classes, kinds of errors, the worst images.

All of it follows from one `evaluation.coco_run`, and its matches at IoU .5 are COCO's own: numbers of one report agree.
"""

import collections
import typing

import numpy as np
from pycocotools import mask

from keras_efficientdet.evaluation.coco import metrics_of, names_of

IOU = 0.5
TOUCHING = 0.1  # IoU from which a false alarm is a badly placed box, not background (TIDE, Bolya et al. 2020)
THRESHOLDS = np.linspace(0.0, 1.0, 1001)
ERRORS = ('localisation', 'class', 'class and place', 'duplicate', 'background', 'missed')


class Matches(typing.NamedTuple):
    """Detections and boxes of an evaluation, and which belong together. Images and classes are indices into the last two.

    Crowds are no boxes here, and detections that COCO leaves out of account (in crowds, beyond 100 of a class) are not listed.
    """

    scores: np.ndarray  # float [D]
    classes: np.ndarray  # int [D]
    images: np.ndarray  # int [D]
    boxes: np.ndarray  # float [D, 4] x, y, width, height
    owner: np.ndarray  # int [D], which box it found, -1 for none
    box_classes: np.ndarray  # int [N]
    box_images: np.ndarray  # int [N]
    true_boxes: np.ndarray  # float [N, 4] x, y, width, height
    image_ids: tuple
    names: tuple


def matches_of(run):
    """The Matches of a `coco_run` at IoU .5, detections sorted by class, image and score."""
    image_ids, class_ids = list(run.params.imgIds), list(run.params.catIds)
    rows = [a for a in run.cocoGt.dataset['annotations'] if not a['iscrowd']]
    number = {0: -1, **{a['id']: i for i, a in enumerate(rows)}}
    image, kind = ({j: i for i, j in enumerate(known)} for known in (image_ids, class_ids))
    found, owner = [], []
    per_class = len(run.params.areaRng) * len(image_ids)
    for k in range(len(class_ids)):
        for one in filter(
            None, run.evalImgs[k * per_class : k * per_class + len(image_ids)]
        ):  # the first area is all
            for j, match, ignored in zip(
                one['dtIds'], one['dtMatches'][0], one['dtIgnore'][0], strict=True
            ):
                if not ignored:
                    found.append(run.cocoDt.anns[j])
                    owner.append(number[int(match)])
    return Matches(
        np.array([d['score'] for d in found], float),
        *_columns(found, kind, image),
        np.array(owner, int),
        *_columns(rows, kind, image),
        tuple(image_ids),
        names_of(run),
    )


def _columns(rows, kind, image):
    return (
        np.array([kind[a['category_id']] for a in rows], int),
        np.array([image[a['image_id']] for a in rows], int),
        np.array([a['bbox'] for a in rows], float).reshape(-1, 4),
    )


def precision_curves(run):
    """(recalls [101], precision at IoU .5 [K, 101], precision averaged over IoU .5 to .95 [K, 101]); the means are AP50 and
    AP. Classes that do not occur are nan."""
    precision = np.where(run.eval['precision'] < 0, np.nan, run.eval['precision'])[:, :, :, 0, -1]
    return run.params.recThrs, precision[0].T, precision.mean(0).T


def counts(matches, thresholds=THRESHOLDS):
    """(found, false alarms, missed), each int [K, T]: what detections with at least these scores amount to."""
    found, alarms = [], []
    for k in range(len(matches.names)):
        own = matches.classes == k
        for rows, table in (
            (own & (matches.owner >= 0), found),
            (own & (matches.owner < 0), alarms),
        ):
            table.append(rows.sum() - np.searchsorted(np.sort(matches.scores[rows]), thresholds))
    found = np.array(found)
    return (
        found,
        np.array(alarms),
        np.bincount(matches.box_classes, minlength=len(found))[:, None] - found,
    )


def f1(found, alarms, missed):
    """F1 score of counts of any shape; nan where there is neither a box nor a detection."""
    whole = 2 * found + alarms + missed
    return np.divide(2 * found, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


class Scores(typing.NamedTuple):
    """F1 over THRESHOLDS, and where it is best (the lowest such threshold). Classes without boxes are nan."""

    f1: np.ndarray  # [K, T]
    mean: np.ndarray  # [T], over the classes that occur, as AP is
    threshold: float  # that of the best mean
    thresholds: np.ndarray  # [K], the best of each class


def scores_of(matches):
    """The Scores of an evaluation."""
    found, alarms, missed = counts(matches)
    curves = np.where(found + missed > 0, f1(found, alarms, missed), np.nan)
    known = ~np.isnan(curves[:, 0])
    mean = curves[known].mean(0) if known.any() else np.zeros(len(THRESHOLDS))
    best = np.where(known, THRESHOLDS[np.argmax(np.nan_to_num(curves), 1)], np.nan)
    return Scores(curves, mean, float(THRESHOLDS[np.argmax(mean)]), best)


def class_table(run, matches, scores):
    """[{'class', 'AP', 'AP50', 'boxes', 'threshold', 'F1', 'precision', 'recall'}], the last three at the class' threshold."""
    table = []
    for k, (name, row) in enumerate(metrics_of(run)['per_class'].items()):
        found, alarms, missed = (
            int(c[k, 0]) for c in counts(matches, scores.thresholds[k : k + 1])
        )
        table.append(
            {
                'class': name,
                **row,
                'boxes': found + missed,
                'threshold': float(scores.thresholds[k]),
                'F1': float(f1(found, alarms, missed)),
                'precision': _share(found, found + alarms),
                'recall': _share(found, found + missed),
            }
        )
    return table


def _share(part, whole):
    return part / whole if whole else float('nan')


def confusion(matches, threshold):
    """int [K + 1, K + 1]: true class by found class, background last, for detections of at least this score.

    The diagonal is what COCO counts as found. Then the rest pairs up over all classes, highest IoU (>= .5) first: a box that
    was taken for another class. What still has no partner is a miss (last column) or a false alarm (last row).
    """
    background = len(matches.names)
    table = np.zeros((background + 1, background + 1), int)
    shown, right, lost = _outcome(matches, threshold)
    np.add.at(table, (matches.classes[right], matches.classes[right]), 1)
    wrong = np.flatnonzero(shown & ~right)
    boxes_left, wrong_left = set(lost.tolist()), set(wrong.tolist())
    for d, b, _ in sorted(_overlaps(matches, wrong, lost, IOU), key=lambda pair: -pair[2]):
        if d in wrong_left and b in boxes_left:
            wrong_left.remove(d)
            boxes_left.remove(b)
            table[matches.box_classes[b], matches.classes[d]] += 1
    np.add.at(table, (background, matches.classes[sorted(wrong_left)]), 1)
    np.add.at(table, (matches.box_classes[sorted(boxes_left)], background), 1)
    return table


def _outcome(matches, threshold):
    """(detections that count [D], those that found a box [D], numbers of the boxes that none of them found)"""
    shown = matches.scores >= threshold
    right = shown & (matches.owner >= 0)
    return shown, right, np.setdiff1d(np.arange(len(matches.box_classes)), matches.owner[right])


def _overlaps(matches, detections, boxes, least):
    """(detection, box, IoU) of all such pairs of one image with at least this IoU."""
    of_image = collections.defaultdict(list)
    for b in boxes:
        of_image[matches.box_images[b]].append(b)
    for d in detections:
        near = of_image.get(matches.images[d], [])
        if near:
            ious = mask.iou(matches.boxes[d : d + 1], matches.true_boxes[near], [0] * len(near))[0]
            yield from ((d, b, iou) for b, iou in zip(near, ious, strict=True) if iou >= least)


def error_kinds(matches, threshold):
    """{kind: how many} for ERRORS, the kinds of TIDE (Bolya et al. 2020), counted at a score threshold.

    A false alarm is 'localisation' (its class, IoU .1 to .5), 'class' (IoU >= .5 with another class), 'class and place'
    (another class, IoU .1 to .5), 'duplicate' (of a box that a better one found) or 'background'. A box that was not found and
    that no 'localisation' or 'class' error explains is 'missed'.
    """
    shown, right, lost = _outcome(matches, threshold)
    wrong = np.flatnonzero(shown & ~right)
    near = collections.defaultdict(list)
    for d, b, iou in _overlaps(matches, wrong, range(len(matches.box_classes)), TOUCHING):
        near[d].append((iou, b))
    kinds, explained = collections.Counter(), set()
    for d in wrong:
        kind, box = _kind(matches.classes[d], near[d], matches.box_classes)
        kinds[kind] += 1
        explained |= {box} if kind in ('localisation', 'class') else set()
    kinds['missed'] = len(set(lost.tolist()) - explained)
    return {kind: kinds[kind] for kind in ERRORS}


def _kind(found_class, near, box_classes):
    """(kind of a false alarm, the box it is about); near: (IoU, box) of what it touches."""
    same = max((pair for pair in near if box_classes[pair[1]] == found_class), default=(0.0, None))
    other = max((pair for pair in near if box_classes[pair[1]] != found_class), default=(0.0, None))
    if TOUCHING <= same[0] < IOU and other[0] < IOU:
        return 'localisation', same[1]
    if same[0] >= IOU:
        return 'duplicate', same[1]
    if other[0] >= IOU:
        return 'class', other[1]
    return ('class and place', other[1]) if other[0] >= TOUCHING else ('background', None)


def image_errors(matches, threshold):
    """(found, false alarms, missed), each int [I], of every image at a score threshold."""
    shown, right, lost = _outcome(matches, threshold)
    return tuple(
        np.bincount(images, minlength=len(matches.image_ids))
        for images in (
            matches.images[right],
            matches.images[shown & ~right],
            matches.box_images[lost],
        )
    )


def worst_images(matches, threshold, count):
    """Indices of the images with the most misses and false alarms, at equal numbers by F1; none without an error."""
    found, alarms, missed = image_errors(matches, threshold)
    order = np.lexsort((np.nan_to_num(f1(found, alarms, missed)), -(alarms + missed)))
    return [int(i) for i in order[:count] if alarms[i] + missed[i]]
