"""The official numpy NMS (`nms_configs.pyfunc`), to compare with metrics computed with it.

It differs from `nms`: sides are counted as last - first + 1 pixels, and nothing is clipped.
"""

import numpy as np
import tensorflow as tf

from keras_efficientdet.config import NMS_METHODS


def non_max_suppression(
    boxes, scores, *, method='gaussian', iou_thresh=0.5, sigma=0.5, score_thresh=0.001
):
    """Suppression among the boxes of one class.

    Args:
      boxes: float [N, 4] ymin xmin ymax xmax in pixels. scores: float [N].
      method: 'hard' drops boxes with an IoU above `iou_thresh`; 'diou' subtracts from the IoU the
        squared distance of the centres over the squared diagonal of the enclosing box, then does
        the same; 'gaussian' multiplies scores by exp(-iou ** 2 / sigma); 'linear' multiplies scores
        by 1 - iou where the IoU is above `iou_thresh` (officially 0.3).
      score_thresh: 'gaussian' and 'linear' drop scores below it; the other two ignore it, as in the
        official code.
    Returns:
      rows int [K] of the kept boxes, best first, and their scores float64 [K].
    Raises:
      ValueError: unknown method.
    Source: google/automl nms_np.
    """
    if method not in NMS_METHODS:
        raise ValueError(f'NMS method {method!r}: expected one of {", ".join(NMS_METHODS)}')
    boxes = np.asarray(boxes, np.float64)
    scores = np.array(scores, np.float64)  # a copy, which is lowered in place
    left = np.arange(len(scores))
    kept = []
    while len(left):
        best = left[np.argmax(scores[left])]
        kept.append(best)
        left = left[left != best]
        overlap = _overlap(boxes[best], boxes[left], method)
        if method in ('hard', 'diou'):
            left = left[overlap <= iou_thresh]
        else:
            scores[left] *= _soft_weight(overlap, method, iou_thresh, sigma)
            left = left[scores[left] >= score_thresh]
    return np.array(kept, np.int64), scores[kept]


def _soft_weight(overlap, method, iou_thresh, sigma):
    if method == 'gaussian':
        return np.exp(-(overlap**2) / sigma)
    return np.where(overlap > iou_thresh, 1.0 - overlap, 1.0)


def _overlap(box, others, method):
    """IoU of one box with others [N, 4], sides counted in whole pixels, less the diou penalty."""
    top_left = np.maximum(box[:2], others[:, :2])
    bottom_right = np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.maximum(bottom_right - top_left + 1.0, 0.0), -1)
    areas = [np.prod(b[..., 2:] - b[..., :2] + 1.0, -1) for b in (box, others)]
    overlap = shared / (areas[0] + areas[1] - shared)
    if method == 'diou':
        between = (box[:2] + box[2:] - others[:, :2] - others[:, 2:]) / 2
        outer = np.maximum(box[2:], others[:, 2:]) - np.minimum(box[:2], others[:, :2])
        overlap = overlap - np.sum(between**2, -1) / np.maximum(np.sum(outer**2, -1), 1e-10)
    return overlap


def per_class(boxes, scores, classes, max_output_size=100, **settings):
    """NMS within each class: the best boxes [D, 4], scores [D], classes [D] of one image."""
    rows = [np.zeros(0, np.int64)]
    values = [np.zeros(0)]
    for k in np.unique(classes):
        own = np.flatnonzero(classes == k)
        kept, decayed = non_max_suppression(boxes[own], scores[own], **settings)
        rows.append(own[kept])
        values.append(decayed)
    rows = np.concatenate(rows)
    values = np.concatenate(values)
    order = np.argsort(-values, kind='stable')[:max_output_size]
    return boxes[rows[order]], values[order].astype(np.float32), classes[rows[order]]


def padded(found, size):
    """[(boxes [K, 4], scores [K], classes [K])] -> detections of a batch with `size` rows each.

    Longer lists are cut off; rows from `count` on are 0.
    """
    boxes = np.zeros([len(found), size, 4], np.float32)
    scores = np.zeros([len(found), size], np.float32)
    classes = np.zeros([len(found), size], np.int32)
    count = np.zeros([len(found)], np.int32)
    for i, (own_boxes, own_scores, own_classes) in enumerate(found):
        n = min(size, len(own_scores))
        boxes[i, :n] = own_boxes[:n]
        scores[i, :n] = own_scores[:n]
        classes[i, :n] = own_classes[:n]
        count[i] = n
    arrays = {'boxes': boxes, 'scores': scores, 'classes': classes, 'count': count}
    return {name: tf.constant(array) for name, array in arrays.items()}
