"""Ground truth -> what each anchor should say."""

import tensorflow as tf

from keras_efficientdet.ops.anchors import encode
from keras_efficientdet.ops.boxes import iou

POSITIVE_IOU = 0.5  # official: both thresholds are 0.5, so there is no band of ignored anchors
BACKGROUND = -1  # class target of an anchor without an object


def match(boxes, classes, anchor_boxes):
    """Class and box targets of one image.

    An anchor takes the box that it overlaps most, if their IoU is at least 0.5. Then every box, however small, takes
    the anchor that it overlaps most; where several boxes want the same anchor the first one has it.

    Args:
      boxes: float32 [N, 4] in pixels of the network's input; N may be 0.
      classes: int32 [N], 0-based. A row with class -2 marks its anchor as ignored, as padded rows do officially.
      anchor_boxes: float32 [A, 4].
    Returns:
      ids int32 [A] (class, or -1 for background) and codes float32 [A, 4] (all 0 where there is no object).
    Source: google/automl anchors.AnchorLabeler (argmax matcher with force_match_for_each_row).
    """
    count = tf.shape(boxes)[0]
    boxes = tf.concat(
        [boxes, tf.zeros([1, 4])], 0
    )  # one row that matches nothing, so that N may be 0
    classes = tf.concat([tf.cast(classes, tf.int32), [BACKGROUND]], 0)
    overlaps = iou(boxes, tf.constant(anchor_boxes))  # [N + 1, A]
    owner = _forced_owner(overlaps[:-1], count)  # [A], N where no box insists
    best = tf.argmax(overlaps, 0, output_type=tf.int32)
    box = tf.where(owner < count, owner, best)  # [A] row of each anchor
    positive = (owner < count) | (tf.reduce_max(overlaps, 0) >= POSITIVE_IOU)
    ids = tf.where(positive, tf.gather(classes, box), BACKGROUND)
    rows = tf.where(positive)  # [P, 1]: few, and codes cost more than finding them
    codes = encode(
        tf.gather(boxes, tf.gather_nd(box, rows)), tf.gather_nd(tf.constant(anchor_boxes), rows)
    )
    return ids, tf.scatter_nd(rows, codes, tf.shape(anchor_boxes, tf.int64))


def _forced_owner(overlaps, count):
    """For each anchor the first row of [N, A] whose best anchor it is, or N."""
    wanted = tf.argmax(overlaps, 1, output_type=tf.int32)  # [N]
    nobody = tf.fill([tf.shape(overlaps)[1]], count)
    return tf.tensor_scatter_nd_min(nobody, wanted[:, None], tf.range(count))
