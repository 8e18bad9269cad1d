"""The official numpy NMS (`nms_configs.pyfunc`), for metrics that are compared with those evaluated by it.

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
      method: 'hard' drops boxes with IoU above `iou_thresh`, 'diou' those whose IoU less the squared distance of the
        centres over the squared diagonal of the enclosing box is above it, 'gaussian' multiplies scores by
        exp(-iou ** 2 / sigma), 'linear' by 1 - iou where the IoU is above `iou_thresh` (officially 0.3).
      score_thresh: soft methods drop what falls below it; the other two never read it, as officially.
    Returns:
      rows int [K] of the kept boxes, best first, and their scores float64 [K].
    Raises:
      ValueError: unknown method.
    Source: google/automl nms_np.
    """
    if method not in NMS_METHODS:
        raise ValueError(f'NMS method {method!r}: expected one of {", ".join(NMS_METHODS)}')
    boxes, scores, left, kept = (
        np.asarray(boxes, np.float64),
        np.array(scores, np.float64),
        np.arange(len(scores)),
        [],
    )
    while len(left):
        best = left[np.argmax(scores[left])]
        kept.append(best)
        left = left[left != best]
        overlap = _overlap(boxes[best], boxes[left], method)
        if method in ('hard', 'diou'):
            left = left[overlap <= iou_thresh]
        else:
            scores[left] *= (
                np.exp(-(overlap**2) / sigma)
                if method == 'gaussian'
                else (np.where(overlap > iou_thresh, 1.0 - overlap, 1.0))
            )
            left = left[scores[left] >= score_thresh]
    return np.array(kept, np.int64), scores[kept]


def _overlap(box, others, method):
    """IoU of one box with others [N, 4], sides counted in whole pixels; for 'diou' less the distance of the centres."""
    shared = np.prod(
        np.maximum(
            np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]) + 1.0, 0.0
        ),
        -1,
    )
    areas = [np.prod(b[..., 2:] - b[..., :2] + 1.0, -1) for b in (box, others)]
    overlap = shared / (areas[0] + areas[1] - shared)
    if method == 'diou':
        between = (box[:2] + box[2:] - others[:, :2] - others[:, 2:]) / 2
        outer = np.maximum(box[2:], others[:, 2:]) - np.minimum(box[:2], others[:, :2])
        overlap = overlap - np.sum(between**2, -1) / np.maximum(np.sum(outer**2, -1), 1e-10)
    return overlap


def per_class(boxes, scores, classes, max_output_size=100, **settings):
    """`non_max_suppression` among the boxes of each class -> the best boxes [D, 4], scores [D], classes [D] of one image."""
    rows, values = [np.zeros(0, np.int64)], [np.zeros(0)]
    for k in np.unique(classes):
        own = np.flatnonzero(classes == k)
        kept, decayed = non_max_suppression(boxes[own], scores[own], **settings)
        rows.append(own[kept])
        values.append(decayed)
    rows, values = np.concatenate(rows), np.concatenate(values)
    order = np.argsort(-values, kind='stable')[:max_output_size]
    return boxes[rows[order]], values[order].astype(np.float32), classes[rows[order]]


def padded(found, size):
    """[(boxes [K, 4], scores [K], classes [K])] of images -> detections of a batch, rows from `count` on 0."""

    def fill(part, dtype):
        return tf.constant(
            np.stack(
                [
                    np.pad(
                        row[part][:size],
                        [(0, size - len(row[part][:size])), *[(0, 0)] * (part == 0)],
                    )
                    for row in found
                ]
            ),
            dtype,
        )

    return {
        'boxes': fill(0, tf.float32),
        'scores': fill(1, tf.float32),
        'classes': fill(2, tf.int32),
        'count': tf.constant([min(size, len(scores)) for _, scores, _ in found], tf.int32),
    }
