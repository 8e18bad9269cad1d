"""Ground truth -> the class and box targets of each anchor."""

import tensorflow as tf

from keras_efficientdet.ops.anchors import encode
from keras_efficientdet.ops.boxes import iou

POSITIVE_IOU = 0.5  # both official thresholds are 0.5: no anchor between them is ignored
BACKGROUND = -1  # class target of an anchor without an object


def match(boxes, classes, anchor_boxes):
    """Class and box targets of one image.

    An anchor is assigned the box that it overlaps most, if their IoU is at least 0.5. In addition
    every box, however small, is assigned to the anchor that it overlaps most; if that is the same
    anchor for several boxes, the first of them gets it.

    Args:
      boxes: float32 [N, 4] in pixels of the network's input; N may be 0.
      classes: int32 [N], 0-based. The class loss ignores anchors that get a row of class -2, as
        with the padded rows of the official code.
      anchor_boxes: float32 [A, 4].
    Returns:
      ids int32 [A] (class, or -1 for background), codes float32 [A, 4] (0 without an object).
    Source: google/automl anchors.AnchorLabeler (argmax matcher with force_match_for_each_row).
    """
    count = tf.shape(boxes)[0]
    # One more row, which matches nothing, so that argmax over the rows is defined for N = 0.
    boxes = tf.concat([boxes, tf.zeros([1, 4])], 0)
    classes = tf.concat([tf.cast(classes, tf.int32), [BACKGROUND]], 0)
    overlaps = iou(boxes, tf.constant(anchor_boxes))  # [N + 1, A]
    owner = _forced_owner(overlaps[:-1], count)  # [A], N where no box is forced
    best = tf.argmax(overlaps, 0, output_type=tf.int32)
    box = tf.where(owner < count, owner, best)  # [A] row of each anchor
    positive = (owner < count) | (tf.reduce_max(overlaps, 0) >= POSITIVE_IOU)
    ids = tf.where(positive, tf.gather(classes, box), BACKGROUND)
    rows = tf.where(positive)  # [P, 1]: few, so encoding these alone is faster than all A
    own_boxes = tf.gather(boxes, tf.gather_nd(box, rows))
    codes = encode(own_boxes, tf.gather_nd(tf.constant(anchor_boxes), rows))
    return ids, tf.scatter_nd(rows, codes, tf.shape(anchor_boxes, tf.int64))


def _forced_owner(overlaps, count):
    """For each anchor the first row of [N, A] that has its highest IoU there, or N."""
    wanted = tf.argmax(overlaps, 1, output_type=tf.int32)  # [N]
    nobody = tf.fill([tf.shape(overlaps)[1]], count)
    return tf.tensor_scatter_nd_min(nobody, wanted[:, None], tf.range(count))
