"""Box losses that compare whole boxes: IoU, generalised, distance and complete IoU."""

import math

import keras
import tensorflow as tf

from keras_efficientdet.network.losses import BoxLoss
from keras_efficientdet.ops.anchors import anchors, decode

IOU_TYPES = ('iou', 'giou', 'diou', 'ciou')


def iou_loss(prediction, target, iou_type='ciou'):
    """1 - IoU of boxes [..., 4] (ymin xmin ymax xmax), less what the type takes from it -> [...].

    giou takes the share of the enclosing box that neither fills, diou the squared distance of the centres over the
    squared diagonal of the enclosing box, ciou also the difference of the side ratios. A target without an area costs
    nothing; a prediction turned inside out counts as empty. Gradients are finite everywhere.

    Raises:
      ValueError: unknown type.
    Source: Rezatofighi et al. 2019, Zheng et al. 2020; google/automl iou_utils.iou_loss.
    """
    _check(iou_type)
    sides, target_sides = _sides(prediction), _sides(target)
    top_left = tf.maximum(prediction[..., :2], target[..., :2])
    shared = _area(tf.maximum(tf.minimum(prediction[..., 2:], target[..., 2:]) - top_left, 0.0))
    union = _area(sides) + _area(target_sides) - shared
    overlap = tf.math.divide_no_nan(shared, union)
    outer = tf.maximum(
        tf.maximum(prediction[..., 2:], target[..., 2:])
        - tf.minimum(prediction[..., :2], target[..., :2]),
        0.0,
    )
    loss = 1.0 - overlap
    if iou_type == 'giou':
        loss += tf.math.divide_no_nan(_area(outer) - union, _area(outer))
    if iou_type in ('diou', 'ciou'):
        between = (
            prediction[..., :2] + prediction[..., 2:] - target[..., :2] - target[..., 2:]
        ) / 2
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
    """box_weight * BoxLoss + iou_weight * IoU loss of the decoded boxes / 4: codes [B, A, 4] twice -> float32 [B].

    A coordinate whose code is exactly 0 in the target is 0 in both boxes, as officially.

    Args:
      anchor_settings: what `anchors.anchors` takes, as a dict.
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
        return self.settings['box_weight'] * codes + self.settings['iou_weight'] * self.iou_part(
            y_true, y_pred
        )

    def iou_part(self, y_true, y_pred):
        """[B]: the IoU loss alone, without its weight."""
        y_true, y_pred = tf.cast(y_true, tf.float32), tf.cast(y_pred, tf.float32)
        said = y_true != 0.0  # [B, A, 4]
        y_pred = tf.where(
            tf.reduce_any(said, -1, keepdims=True), y_pred, 0.0
        )  # so that exp cannot overflow elsewhere
        boxes, truth = (
            tf.where(said, decode(codes, tf.constant(self.anchor_boxes)), 0.0)
            for codes in (y_pred, y_true)
        )
        return tf.reduce_sum(iou_loss(boxes, truth, self.settings['iou_type']), 1) / 4.0

    def get_config(self):
        return {**super().get_config(), **self.settings}
