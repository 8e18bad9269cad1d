"""Scores and boxes -> detections: one vectorised greedy loop serves hard and soft NMS, per class and over all classes."""

import tensorflow as tf

from keras_efficientdet.ops.boxes import area

METHODS = ('gaussian', 'hard')


def top_pairs(logits, boxes, count):
    """The `count` best (anchor, class) pairs: logits [B, A, K], boxes [B, A, 4] -> boxes [B, N, 4], scores, classes [B, N].

    Two steps, since sorting all A * K pairs is slow: an anchor that holds one of the best N pairs is among the N anchors
    with the best maxima. count = 0 keeps the best class of every anchor. Scores are sigmoids, classes int32. A and K are
    static, so that N is: engines plan shapes that they know once, not in each step of NMS.
    """
    logits = tf.convert_to_tensor(logits)
    best = tf.reduce_max(logits, -1)  # [B, A]
    if not count:
        return boxes, tf.sigmoid(best), tf.argmax(logits, -1, output_type=tf.int32)
    anchors, classes = min(count, logits.shape[1]), logits.shape[2]
    anchor = tf.math.top_k(best, anchors).indices  # [B, n]
    logits, boxes = tf.gather(logits, anchor, batch_dims=1), tf.gather(boxes, anchor, batch_dims=1)
    values, pair = tf.math.top_k(
        tf.reshape(logits, [-1, anchors * classes]), min(count, anchors * classes)
    )
    return tf.gather(boxes, pair // classes, batch_dims=1), tf.sigmoid(values), pair % classes


def non_max_suppression(
    boxes,
    scores,
    classes,
    *,
    method='gaussian',
    iou_thresh=0.5,
    sigma=0.5,
    score_thresh=0.001,
    per_class=True,
    max_output_size=100,
):
    """Greedy non-maximum suppression of a whole batch.

    Takes the best remaining candidate and lowers the scores of those that overlap it, `max_output_size` times:
    'hard' drops what has IoU above `iou_thresh`, 'gaussian' multiplies by exp(-iou ** 2 / sigma). Equal to
    tf.raw_ops.NonMaxSuppressionV5 (whose soft_nms_sigma is sigma / 2), class by class, without a loop over classes.

    Args:
      boxes: float32 [B, N, 4]; scores: float32 [B, N]; classes: int32 [B, N].
      score_thresh: only scores above it are kept, after the decay.
      per_class: whether boxes of different classes leave each other alone.
    Returns:
      boxes float32 [B, D, 4], scores float32 [B, D], classes int32 [B, D], count int32 [B], best first, D = max_output_size.
      Rows from `count` on are 0.
    Raises:
      ValueError: unknown method.
    Source: Soft-NMS (Bodla et al. 2017); google/automl tf2/postprocess.py.
    """
    if method not in METHODS:
        raise ValueError(f'NMS method {method!r}: expected gaussian or hard')
    decay = (
        (lambda iou: tf.exp(-iou * iou / sigma))
        if method == 'gaussian'
        else (lambda iou: tf.cast(iou <= iou_thresh, tf.float32))
    )
    threshold = tf.cast(score_thresh, tf.float32)
    rows = tf.concat(
        [boxes, area(boxes)[..., None], tf.cast(classes, tf.float32)[..., None]], -1
    )  # [B, N, 6]
    columns = tf.unstack(
        rows, axis=-1
    )  # [B, N] each: engines are slow at tensors whose last axis is 2 or 4
    order, places = tf.range(tf.shape(scores)[1])[None], tf.range(max_output_size)[None, :, None]

    def step(i, left, score, best, kept):
        row = tf.gather(rows, best, batch_dims=1)  # [B, 1, 6]
        weight = decay(_iou(columns, tf.unstack(row, axis=-1)))  # [B, N]
        if per_class:
            weight = tf.where(columns[5] == row[..., 5], weight, 1.0)
        left = tf.where(order == best, 0.0, left * weight)
        left = tf.where(left > threshold, left, 0.0)
        kept = tf.where(places == i, tf.concat([row, score[..., None]], -1), kept)
        return i + 1, left, *tf.math.top_k(left, 1), kept

    left = tf.where(scores > threshold, scores, 0.0)
    kept = tf.zeros(
        [tf.shape(boxes)[0], max_output_size, 7]
    )  # no TensorArray: ONNX and OpenVINO lack it
    *_, kept = tf.while_loop(
        lambda i, left, score, *_: (i < max_output_size) & tf.reduce_any(score > 0.0),
        step,
        (0, left, *tf.math.top_k(left, 1), kept),
    )
    valid = kept[..., 6] > 0.0  # [B, D]
    kept = tf.where(valid[..., None], kept, 0.0)
    return (
        kept[..., :4],
        kept[..., 6],
        tf.cast(kept[..., 5], tf.int32),
        tf.reduce_sum(tf.cast(valid, tf.int32), 1),
    )


def _iou(many, one):
    """IoU of columns ymin, xmin, ymax, xmax, area, ... [B, N] with those of one box [B, 1] -> [B, N]; degenerate boxes overlap
    nothing."""
    (ymin, xmin, ymax, xmax, areas, *_), (top, left, bottom, right, own, *_) = many, one
    height, width = (
        tf.minimum(ymax, bottom) - tf.maximum(ymin, top),
        tf.minimum(xmax, right) - tf.maximum(xmin, left),
    )
    shared = tf.maximum(height, 0.0) * tf.maximum(width, 0.0)
    return tf.where(shared > 0.0, shared / (areas + own - shared), 0.0)
