"""Candidates -> detections: one greedy loop for hard and soft NMS, per class or over all."""

import typing

import tensorflow as tf

from keras_efficientdet.ops.boxes import area

METHODS = ('gaussian', 'hard')
# Columns of the rows that NMS keeps; before them stand those of _Columns.
BOX, CLASS, SCORE = slice(0, 4), 5, 6


class _Columns(typing.NamedTuple):
    """Columns of candidates, [B, N] each: engines are slow at tensors whose last axis is 2 or 4."""

    ymin: tf.Tensor
    xmin: tf.Tensor
    ymax: tf.Tensor
    xmax: tf.Tensor
    area: tf.Tensor
    kind: tf.Tensor  # class as float32


def top_pairs(logits, boxes, count):
    """The `count` best (anchor, class) pairs.

    logits [B, A, K], boxes [B, A, 4] -> boxes [B, N, 4], scores [B, N], classes int32 [B, N].

    Sorting all A * K pairs would be slow. An anchor of one of the N best pairs is among the N
    anchors with the highest maxima, so those are chosen first. count = 0 keeps the best class of
    every anchor. Scores are sigmoids, classes int32. A and K must be static, so that N is, too:
    engines plan memory for known shapes once, for others in each step of NMS.
    """
    logits = tf.convert_to_tensor(logits)
    best = tf.reduce_max(logits, -1)  # [B, A]
    if not count:
        return boxes, tf.sigmoid(best), tf.argmax(logits, -1, output_type=tf.int32)
    anchors, classes = min(count, logits.shape[1]), logits.shape[2]
    anchor = tf.math.top_k(best, anchors).indices  # [B, n]
    logits = tf.gather(logits, anchor, batch_dims=1)  # [B, n, K]
    boxes = tf.gather(boxes, anchor, batch_dims=1)
    pairs = tf.reshape(logits, [-1, anchors * classes])
    values, pair = tf.math.top_k(pairs, min(count, anchors * classes))
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

    Takes the best remaining candidate and lowers the scores of those that overlap it, up to
    `max_output_size` times: 'hard' drops candidates with an IoU above `iou_thresh`, 'gaussian'
    multiplies scores by exp(-iou ** 2 / sigma). Equal to tf.raw_ops.NonMaxSuppressionV5 (whose
    soft_nms_sigma is sigma / 2) applied class by class, without a loop over classes.

    Args:
      boxes: float32 [B, N, 4]; scores: float32 [B, N]; classes: int32 [B, N].
      score_thresh: only scores above it are kept, after the decay.
      per_class: True: only boxes of the same class suppress each other.
    Returns:
      boxes float32 [B, D, 4], scores float32 [B, D], classes int32 [B, D], count int32 [B], best
      first, D = max_output_size. Rows from `count` on are 0.
    Raises:
      ValueError: unknown method.
    Source: Soft-NMS (Bodla et al. 2017); google/automl tf2/postprocess.py.
    """
    decay = _decay(method, iou_thresh, sigma)
    threshold = tf.cast(score_thresh, tf.float32)
    kinds = tf.cast(classes, tf.float32)
    rows = tf.concat([boxes, area(boxes)[..., None], kinds[..., None]], -1)  # [B, N, 6]
    kept = _kept(rows, scores, decay, threshold, per_class, max_output_size)  # [B, D, 7]
    valid = kept[..., SCORE] > 0.0  # [B, D]
    kept = tf.where(valid[..., None], kept, 0.0)
    return (
        kept[..., BOX],
        kept[..., SCORE],
        tf.cast(kept[..., CLASS], tf.int32),
        tf.reduce_sum(tf.cast(valid, tf.int32), 1),
    )


def _decay(method, iou_thresh, sigma):
    """The function IoU [B, N] with the box just taken -> factor of the scores [B, N]."""
    if method == 'gaussian':
        return lambda iou: tf.exp(-iou * iou / sigma)
    if method == 'hard':
        return lambda iou: tf.cast(iou <= iou_thresh, tf.float32)
    raise ValueError(f'NMS method {method!r}: expected one of {", ".join(METHODS)}')


def _kept(rows, scores, decay, threshold, per_class, count):
    """Candidates [B, N, 6] (_Columns), scores [B, N] -> kept ones with score [B, count, 7]."""
    candidates = _Columns(*tf.unstack(rows, axis=-1))
    order = tf.range(tf.shape(scores)[1])[None]  # [1, N]
    places = tf.range(count)[None, :, None]  # [1, D, 1]

    def unfinished(i, left, score, best, kept):
        return (i < count) & tf.reduce_any(score > 0.0)

    def take_best(i, left, score, best, kept):
        """left [B, N]: remaining scores; score, best [B, 1]: the highest of them and its place."""
        row = tf.gather(rows, best, batch_dims=1)  # [B, 1, 6]
        taken = _Columns(*tf.unstack(row, axis=-1))
        weight = decay(_iou(candidates, taken))  # [B, N]
        if per_class:
            weight = tf.where(candidates.kind == taken.kind, weight, 1.0)
        left = tf.where(order == best, 0.0, left * weight)
        left = tf.where(left > threshold, left, 0.0)
        # Written by a mask, not into a TensorArray, which ONNX and OpenVINO do not have.
        kept = tf.where(places == i, tf.concat([row, score[..., None]], -1), kept)
        score, best = tf.math.top_k(left, 1)
        return i + 1, left, score, best, kept

    left = tf.where(scores > threshold, scores, 0.0)
    score, best = tf.math.top_k(left, 1)
    kept = tf.zeros([tf.shape(rows)[0], count, rows.shape[-1] + 1])
    *_, kept = tf.while_loop(unfinished, take_best, (0, left, score, best, kept))
    return kept


def _iou(many, one):
    """IoU of boxes [B, N] with one box [B, 1], as _Columns -> [B, N]; 0 for boxes without area."""
    height = tf.minimum(many.ymax, one.ymax) - tf.maximum(many.ymin, one.ymin)
    width = tf.minimum(many.xmax, one.xmax) - tf.maximum(many.xmin, one.xmin)
    shared = tf.maximum(height, 0.0) * tf.maximum(width, 0.0)
    return tf.where(shared > 0.0, shared / (many.area + one.area - shared), 0.0)
