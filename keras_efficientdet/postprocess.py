"""Scores and boxes -> detections: one vectorised greedy loop serves hard and soft NMS, per class and over all classes."""
import tensorflow as tf

from keras_efficientdet.boxes import area


def top_pairs(logits, boxes, count):
    """The `count` best (anchor, class) pairs: logits [B, A, K], boxes [B, A, 4] -> boxes [B, N, 4], scores, classes [B, N].

    Two steps, since sorting all A * K pairs is slow: an anchor that holds one of the best N pairs is among the N anchors
    with the best maxima. count = 0 keeps the best class of every anchor. Scores are sigmoids, classes int32.
    """
    best = tf.reduce_max(logits, -1)                                             # [B, A]
    if not count:
        return boxes, tf.sigmoid(best), tf.argmax(logits, -1, output_type=tf.int32)
    anchors_kept = tf.minimum(count, tf.shape(best)[1])
    anchor = tf.math.top_k(best, anchors_kept).indices                           # [B, n]
    logits, boxes = tf.gather(logits, anchor, batch_dims=1), tf.gather(boxes, anchor, batch_dims=1)
    classes = tf.shape(logits)[2]
    values, pair = tf.math.top_k(tf.reshape(logits, [tf.shape(logits)[0], -1]), tf.minimum(count, anchors_kept * classes))
    return tf.gather(boxes, pair // classes, batch_dims=1), tf.sigmoid(values), pair % classes


def non_max_suppression(boxes, scores, classes, *, method='gaussian', iou_thresh=0.5, sigma=0.5, score_thresh=0.001,
                        per_class=True, max_output_size=100):
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
    if method not in ('gaussian', 'hard'):
        raise ValueError(f'NMS method {method!r}: expected gaussian or hard')
    decay = (lambda iou: tf.exp(-iou * iou / sigma)) if method == 'gaussian' else (
        lambda iou: tf.cast(iou <= iou_thresh, tf.float32))
    threshold = tf.cast(score_thresh, tf.float32)
    areas = area(boxes)

    def step(i, left, picked, kept):
        best = tf.argmax(left, 1, output_type=tf.int32)                          # [B]
        score = tf.gather(left, best, batch_dims=1)
        overlap = _iou_with(boxes, areas, best)                                  # [B, N]
        weight = decay(overlap)
        if per_class:
            same = classes == tf.gather(classes, best, batch_dims=1)[:, None]
            weight = tf.where(same, weight, 1.)
        left = tf.where(tf.range(tf.shape(left)[1])[None] == best[:, None], 0., left * weight)
        left = tf.where(left > threshold, left, 0.)
        here = tf.range(max_output_size)[None] == i
        return i + 1, left, tf.where(here, best[:, None], picked), tf.where(here, score[:, None], kept)

    left = tf.where(scores > threshold, scores, 0.)
    empty = tf.zeros([tf.shape(boxes)[0], max_output_size])                      # no TensorArray: ONNX and OpenVINO lack it
    _, _, picked, kept = tf.while_loop(lambda i, left, *_: (i < max_output_size) & tf.reduce_any(left > 0.), step,
                                       (0, left, tf.cast(empty, tf.int32), empty))
    valid = kept > 0.                                                            # [B, D]
    return (tf.where(valid[..., None], tf.gather(boxes, picked, batch_dims=1), 0.), kept,
            tf.where(valid, tf.gather(classes, picked, batch_dims=1), 0), tf.reduce_sum(tf.cast(valid, tf.int32), 1))


def _iou_with(boxes, areas, index):
    """IoU of every box [B, N, 4] with the one at `index` [B] of its image -> [B, N]; degenerate boxes overlap nothing."""
    chosen = tf.gather(boxes, index, batch_dims=1)[:, None]                      # [B, 1, 4]
    sides = tf.minimum(boxes[..., 2:], chosen[..., 2:]) - tf.maximum(boxes[..., :2], chosen[..., :2])
    shared = tf.reduce_prod(tf.maximum(sides, 0.), -1)
    union = areas + tf.gather(areas, index, batch_dims=1)[:, None] - shared
    return tf.where(shared > 0., shared / tf.where(shared > 0., union, 1.), 0.)
