"""Weighted box fusion: the boxes of several detectors as one set."""

import numpy as np

SAME_OBJECT = 0.55  # IoU from which two boxes are one object; official


def weighted_box_fusion(boxes, scores, classes, detectors):
    """Fuses the detections of several detectors on one image.

    In order of score, a box joins the group of its class whose mean it overlaps most, if their IoU
    is above 0.55, or starts a new one. Each group becomes one box: the mean of its boxes weighted
    by their scores. Its score is their mean score times the fraction of detectors that found it.

    Args:
      boxes: float [N, 4] ymin xmin ymax xmax of all detectors. scores: float [N]. classes: int [N].
      detectors: number of detectors.
    Returns:
      boxes float32 [K, 4], scores float32 [K], classes int32 [K], best first.
    Source: Solovyev et al. 2021; google/automl tf2/wbf.py, which omits the last class.
    """
    groups = []  # [class, mean box, rows]
    for row in np.argsort(-np.asarray(scores), kind='stable'):
        own = [group for group in groups if group[0] == classes[row]]
        overlap = [_iou(group[1], boxes[row]) for group in own]
        if overlap and max(overlap) > SAME_OBJECT:
            group = own[int(np.argmax(overlap))]
        else:
            group = [classes[row], None, []]
            groups.append(group)
        group[2].append(row)
        group[1] = np.average(boxes[group[2]], 0, weights=scores[group[2]])
    kinds = np.array([kind for kind, _, _ in groups], np.int32)
    means = np.array([mean for _, mean, _ in groups], np.float32).reshape(-1, 4)
    values = [
        np.mean(scores[rows]) * min(len(rows), detectors) / detectors for _, _, rows in groups
    ]
    values = np.array(values, np.float32)
    order = np.argsort(-values, kind='stable')
    return means[order], values[order], kinds[order]


def _iou(a, b):
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0.0)
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - np.prod(sides)
    return np.prod(sides) / union if union > 0 else 0.0
