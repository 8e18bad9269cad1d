"""Box losses that compare whole boxes: IoU, generalised, distance and complete IoU."""

import math

import keras
import tensorflow as tf

from keras_efficientdet.network.losses import BoxLoss
from keras_efficientdet.ops.anchors import anchors, decode

IOU_TYPES = ('iou', 'giou', 'diou', 'ciou')


def iou_loss(prediction, target, iou_type='ciou'):
    """1 - IoU of boxes [..., 4] (ymin xmin ymax xmax), plus the penalty of the type -> [...].

    The penalty of giou is the share of the enclosing box that neither box covers; of diou the
    squared distance of the centres over the squared diagonal of the enclosing box; ciou adds a term
    for the difference in aspect ratio. The loss is 0 for a target without area. A prediction with
    negative sides counts as empty. Gradients are finite everywhere.

    Raises:
      ValueError: unknown type.
    Source: Rezatofighi et al. 2019, Zheng et al. 2020; google/automl iou_utils.iou_loss.
    """
    _check(iou_type)
    sides, target_sides = _sides(prediction), _sides(target)
    top_left = tf.maximum(prediction[..., :2], target[..., :2])
    bottom_right = tf.minimum(prediction[..., 2:], target[..., 2:])
    shared = _area(tf.maximum(bottom_right - top_left, 0.0))
    union = _area(sides) + _area(target_sides) - shared
    overlap = tf.math.divide_no_nan(shared, union)
    outer_top_left = tf.minimum(prediction[..., :2], target[..., :2])
    outer_bottom_right = tf.maximum(prediction[..., 2:], target[..., 2:])
    outer = tf.maximum(outer_bottom_right - outer_top_left, 0.0)  # sides of the enclosing box
    loss = 1.0 - overlap
    if iou_type == 'giou':
        loss += tf.math.divide_no_nan(_area(outer) - union, _area(outer))
    if iou_type in ('diou', 'ciou'):
        corners = prediction[..., :2] + prediction[..., 2:] - target[..., :2] - target[..., 2:]
        between = corners / 2  # of the centres
        loss += tf.math.divide_no_nan(tf.reduce_sum(between**2, -1), tf.reduce_sum(outer**2, -1))
    if iou_type == 'ciou':
        ratio = 4.0 * ((_angle(target_sides) - _angle(sides)) / math.pi) ** 2
        loss += tf.math.divide_no_nan(ratio, 1.0 - overlap + ratio) * ratio
    return tf.where(_area(target_sides) > 0.0, loss, 0.0)


def _check(iou_type):
    if iou_type not in IOU_TYPES:
        raise ValueError(f'iou_loss_type {iou_type!r}: expected one of {", ".join(IOU_TYPES)}')


def _sides(boxes):
    return tf.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)


def _area(sides):
    return sides[..., 0] * sides[..., 1]


def _angle(sides):
    return tf.atan(tf.math.divide_no_nan(sides[..., 1], sides[..., 0]))


@keras.saving.register_keras_serializable('keras_efficientdet')
class BoxAndIouLoss(keras.losses.Loss):
    """box_weight * BoxLoss + iou_weight * IoU loss of the decoded boxes / 4.

    Targets and predictions are codes [B, A, 4]; the loss is float32 [B]. As in the official code,
    a coordinate whose target code is exactly 0 is set to 0 in both decoded boxes.

    Args:
      anchor_settings: the arguments of `ops.anchors.anchors`, as a dict.
      iou_type: 'iou', 'giou', 'diou' or 'ciou'.
    Raises:
      ValueError: unknown type.
    Source: google/automl train_lib.BoxLoss, BoxIouLoss.
    """

    def __init__(
        self,
        anchor_settings,
        iou_type,
        delta=0.1,
        box_weight=50.0,
        iou_weight=1.0,
        name='box_and_iou_loss',
        reduction='sum',
        **kwargs,
    ):
        super().__init__(name=name, reduction=reduction, **kwargs)
        _check(iou_type)
        self.settings = {
            'anchor_settings': anchor_settings,
            'iou_type': iou_type,
            'delta': delta,
            'box_weight': box_weight,
            'iou_weight': iou_weight,
        }
        self.anchor_boxes = anchors(**anchor_settings)
        self.box_loss = BoxLoss(delta)

    def call(self, y_true, y_pred):
        codes = self.box_loss.call(y_true, y_pred)
        overlaps = self.iou_part(y_true, y_pred)
        return self.settings['box_weight'] * codes + self.settings['iou_weight'] * overlaps

    def iou_part(self, y_true, y_pred):
        """[B]: the IoU loss alone, without its weight."""
        y_true, y_pred = tf.cast(y_true, tf.float32), tf.cast(y_pred, tf.float32)
        given = y_true != 0.0  # [B, A, 4]
        # Anchors without an object are set to 0 before decoding, whose exp could overflow there.
        y_pred = tf.where(tf.reduce_any(given, -1, keepdims=True), y_pred, 0.0)
        anchor_boxes = tf.constant(self.anchor_boxes)
        boxes = tf.where(given, decode(y_pred, anchor_boxes), 0.0)
        truth = tf.where(given, decode(y_true, anchor_boxes), 0.0)
        return tf.reduce_sum(iou_loss(boxes, truth, self.settings['iou_type']), 1) / 4.0

    def get_config(self):
        return {**super().get_config(), **self.settings}
