"""The official losses, one number per image.

Their factor 1 / (1 + positives) comes in as Keras' sample_weight [B].
"""

import keras
import tensorflow as tf

from keras_efficientdet.ops import class_masks

_register = keras.saving.register_keras_serializable('keras_efficientdet')
IGNORED = -2  # class target of an anchor that takes no part in the class loss


@_register
class FocalLoss(keras.losses.Loss):
    """Sigmoid focal loss over class ids.

    `call(y_true, y_pred)`: ids [B, A] (class, -1 background, -2 ignored), logits [B, A, K] ->
    float32 [B], summed over anchors and classes. As in the official code, label smoothing changes
    the cross-entropy but not the weights.
    Source: RetinaNet paper section 3; google/automl train_lib.FocalLoss.
    """

    def __init__(
        self,
        alpha=0.25,
        gamma=1.5,
        label_smoothing=0.0,
        name='focal_loss',
        reduction='sum',
        **kwargs,
    ):
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.alpha, self.gamma, self.label_smoothing = alpha, gamma, label_smoothing

    def call(self, y_true, y_pred):
        ids = tf.cast(y_true, tf.int32)
        logits = tf.cast(y_pred, tf.float32)
        truth = tf.one_hot(ids, tf.shape(logits)[-1])  # [B, A, K]; all zero for -1 and -2
        probability = tf.sigmoid(logits)
        wrong = truth * (1.0 - probability) + (1.0 - truth) * probability  # 1 - p_t
        weight = (truth * self.alpha + (1.0 - truth) * (1.0 - self.alpha)) * wrong**self.gamma
        smooth = truth * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        loss = weight * tf.nn.sigmoid_cross_entropy_with_logits(labels=smooth, logits=logits)
        return tf.reduce_sum(tf.where((ids != IGNORED)[..., None], loss, 0.0), [1, 2])

    def get_config(self):
        return {
            **super().get_config(),
            'alpha': self.alpha,
            'gamma': self.gamma,
            'label_smoothing': self.label_smoothing,
        }


@_register
class ClassificationLoss(keras.losses.Loss):
    """Softmax cross-entropy of images: shares of classes [B, K], logits [B, K] -> float32 [B].

    0 for an image without a class, whose shares are all 0. Label smoothing as in Keras and the
    official code: shares * (1 - s) + s / K.
    """

    def __init__(self, label_smoothing=0.0, name='classification_loss', reduction='sum', **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        shares, logits = tf.cast(y_true, tf.float32), tf.cast(y_pred, tf.float32)
        spread = tf.reduce_mean(shares, -1, keepdims=True)
        smooth = shares * (1.0 - self.label_smoothing) + spread * self.label_smoothing
        return tf.nn.softmax_cross_entropy_with_logits(labels=smooth, logits=logits)

    def get_config(self):
        return {**super().get_config(), 'label_smoothing': self.label_smoothing}


@_register
class SegmentationLoss(keras.losses.Loss):
    """Softmax cross-entropy of places: classes [B, h, w], logits [B, h, w, K] -> float32 [B].

    Summed over the places; 0 for those with `class_masks.IGNORED`.
    Source: google/automl keras.train_lib, SparseCategoricalCrossentropy, without ignored places.
    """

    def __init__(self, name='segmentation_loss', reduction='sum', **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)

    def call(self, y_true, y_pred):
        classes = tf.cast(y_true, tf.int32)
        known = classes != class_masks.IGNORED
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=tf.where(known, classes, 0), logits=tf.cast(y_pred, tf.float32)
        )
        return tf.reduce_sum(tf.where(known, loss, 0.0), [1, 2])


@_register
class PointLoss(keras.losses.Loss):
    """Places of points in their cells: [B, P, 3] (y, x, mark), logits [B, P, 2] -> float32 [B].

    Cross-entropy ('bce') or distance ('l1') of the logits' sigmoid, summed over marked places.
    """

    def __init__(self, kind='bce', name='point_loss', reduction='sum', **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.kind = kind

    def call(self, y_true, y_pred):
        wanted, mark = tf.cast(y_true[..., :2], tf.float32), tf.cast(y_true[..., 2:], tf.float32)
        logits = tf.cast(y_pred, tf.float32)
        if self.kind == 'l1':
            loss = tf.abs(tf.sigmoid(logits) - wanted)
        else:
            loss = tf.nn.sigmoid_cross_entropy_with_logits(labels=wanted, logits=logits)
        return tf.reduce_sum(mark * loss, [1, 2])

    def get_config(self):
        return {**super().get_config(), 'kind': self.kind}


@_register
class BoxLoss(keras.losses.Loss):
    """Huber loss of box codes: targets, predictions [B, A, 4] -> float32 [B], the sum divided by 4.

    Elements whose target is exactly 0 are left out, which is how the official code skips anchors
    without an object.
    Source: google/automl train_lib.BoxLoss.
    """

    def __init__(self, delta=0.1, name='box_loss', reduction='sum', **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.delta = delta

    def call(self, y_true, y_pred):
        y_true, y_pred = tf.cast(y_true, tf.float32), tf.cast(y_pred, tf.float32)
        error = tf.abs(y_pred - y_true)
        near = tf.minimum(error, self.delta)
        huber = 0.5 * near * near + self.delta * (error - near)
        return tf.reduce_sum(tf.where(y_true != 0.0, huber, 0.0), [1, 2]) / 4.0

    def get_config(self):
        return {**super().get_config(), 'delta': self.delta}


@_register
class HeatMapLoss(keras.losses.Loss):
    """Penalty-reduced focal loss: heat [B, h, w, K], logits of the same shape -> float32 [B].

    Where the heat is 1: -(1 - p)^2 log p; elsewhere -(1 - heat)^4 p^2 log(1 - p). Summed.
    Source: Objects as Points, equation 1 (alpha 2, beta 4).
    """

    def __init__(self, name='heat_map_loss', reduction='sum', **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)

    def call(self, y_true, y_pred):
        heat, logits = tf.cast(y_true, tf.float32), tf.cast(y_pred, tf.float32)
        p = tf.sigmoid(logits)
        at_centre = (1.0 - p) ** 2 * tf.nn.softplus(-logits)  # softplus(-x) = -log sigmoid(x)
        elsewhere = (1.0 - heat) ** 4 * p**2 * tf.nn.softplus(logits)
        return tf.reduce_sum(tf.where(heat >= 1.0, at_centre, elsewhere), [1, 2, 3])


@_register
class CenterLoss(keras.losses.Loss):
    """L1 at the centres of objects: targets [B, h, w, 3] (y, x, mark), predictions [B, h, w, 2].

    Returns float32 [B], the sum over the marked cells.
    """

    def __init__(self, name='center_loss', reduction='sum', **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)

    def call(self, y_true, y_pred):
        wanted, mark = tf.cast(y_true[..., :2], tf.float32), tf.cast(y_true[..., 2:], tf.float32)
        return tf.reduce_sum(mark * tf.abs(tf.cast(y_pred, tf.float32) - wanted), [1, 2, 3])
