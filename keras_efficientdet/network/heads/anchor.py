"""EfficientDet's head: a class and a box for each anchor."""

import math

import keras
import numpy as np
import tensorflow as tf

from keras_efficientdet.network import losses as _losses
from keras_efficientdet.network.heads.head import Head, conv_tower
from keras_efficientdet.network.iou_losses import BoxAndIouLoss
from keras_efficientdet.ops.anchors import anchors, decode
from keras_efficientdet.ops.boxes import clip
from keras_efficientdet.ops.matching import BACKGROUND, match
from keras_efficientdet.ops.nms import non_max_suppression, top_pairs

# Untrained, every anchor gives every class a probability of 0.01 (RetinaNet paper section 4.1).
PRIOR_BIAS = -math.log(99.0)


def anchor_settings(model):
    """The arguments of `ops.anchors.anchors` for a ModelConfig."""
    return {
        'image_size': model.image_size,
        'levels': (model.min_level, model.max_level),
        'scales': model.num_scales,
        'ratios': model.aspect_ratios,
        'scale': model.anchor_scale,
    }


def config_anchors(config):
    """float32 [A, 4] anchors of a Config, in pixels of the network's input."""
    return anchors(**anchor_settings(config.model))


def build(features, config):
    """{level: [B, h, w, C]} -> logits 'classes' [B, A, num_classes], codes 'boxes' [B, A, 4]."""
    model = config.model
    per_place = model.num_scales * len(model.aspect_ratios)
    shared = {
        'repeats': model.box_class_repeats,
        'filters': model.fpn_num_filters,
        'act_type': model.act_type,
        'separable': model.separable_conv,
        'survival_prob': model.survival_prob,
        'weight_decay': config.train.weight_decay,
    }
    classes = conv_tower(
        features,
        name='class_net.class',
        outputs=per_place * model.num_classes,
        bias_initializer=keras.initializers.Constant(PRIOR_BIAS),
        **shared,
    )
    boxes = conv_tower(features, name='box_net.box', outputs=per_place * 4, **shared)
    return {
        'classes': _join(classes, model.num_classes, 'classes'),
        'boxes': _join(boxes, 4, 'boxes'),
    }


def _join(towers, width, name):
    """{level: [B, h, w, anchors * width]} -> [B, A, width], level-major."""
    rows = [
        keras.layers.Reshape((-1, width), name=f'{name}-{level}', dtype='float32')(x)
        for level, x in towers.items()
    ]
    return keras.layers.Concatenate(axis=1, name=name, dtype='float32')(rows)


def targets(config):
    """The encoding of ground truth: boxes [N, 4], classes [N] -> targets, positive anchors.

    Targets are {'classes': int32 [A], 'boxes': float32 [A, 4] codes}.
    """
    anchor_boxes = config_anchors(config)

    def encode_example(boxes, classes):
        ids, codes = match(boxes, classes, anchor_boxes)
        ids.set_shape([len(anchor_boxes)])
        codes.set_shape(anchor_boxes.shape)
        encoded = {'classes': ids, 'boxes': codes}
        return encoded, positives(encoded)

    return encode_example


def positives(targets):
    """Number of anchors with an object, float32. As officially it includes ignored anchors."""
    return tf.reduce_sum(tf.cast(targets['classes'] != BACKGROUND, tf.float32))


def objects(targets, config):
    """Targets of one image -> the boxes [N, 4] and classes [N] in them, positive anchors [P, 4].

    Several anchors encode the same box; they agree up to rounding, so each box is returned once.
    """
    positive = targets['classes'] >= 0
    anchor_boxes = config_anchors(config)[positive]
    boxes = np.round(decode(targets['boxes'][positive], anchor_boxes).numpy(), 1)
    rows = np.concatenate([boxes, targets['classes'][positive, None]], 1)
    rows = np.unique(rows, axis=0)
    return rows[:, :4], rows[:, 4].astype(np.int32), anchor_boxes


def losses(config):
    """({output: loss}, {output: weight}) for `model.compile`.

    With an IoU loss, `boxes_loss` in Keras' logs is the weighted sum of both box losses, as it is
    added to the total.
    """
    train = config.train
    focal = _losses.FocalLoss(train.alpha, train.gamma, train.label_smoothing)
    if train.iou_loss_type:
        boxes = BoxAndIouLoss(
            anchor_settings(config.model),
            train.iou_loss_type,
            delta=train.delta,
            box_weight=train.box_loss_weight,
            iou_weight=train.iou_loss_weight,
        )
        return {'classes': focal, 'boxes': boxes}, {'classes': 1.0, 'boxes': 1.0}
    weights = {'classes': 1.0, 'boxes': train.box_loss_weight}
    return {'classes': focal, 'boxes': _losses.BoxLoss(train.delta)}, weights


def candidates(outputs, config):
    """What enters NMS: boxes [B, N, 4] in pixels of the input, scores [B, N], classes [B, N]."""
    boxes = decode(outputs['boxes'], tf.constant(config_anchors(config)))
    return top_pairs(outputs['classes'], boxes, config.detect.max_nms_inputs)


def detect(outputs, config):
    """Network outputs -> boxes [B, D, 4] in pixels of the input, scores, classes [B, D], count [B].

    Boxes are clipped to the input after NMS, as in the official global mode.
    """
    nms = config.detect
    boxes, *rest = non_max_suppression(
        *candidates(outputs, config),
        method=nms.method,
        iou_thresh=nms.iou_thresh,
        sigma=nms.sigma,
        score_thresh=nms.score_thresh,
        per_class=nms.per_class,
        max_output_size=nms.max_output_size,
    )
    return clip(boxes, *config.model.image_size), *rest


def codes(outputs, config):
    """Box codes [B, A, 4] relative to the anchors, scores [B, A, num_classes]."""
    return outputs['boxes'], tf.sigmoid(outputs['classes'])


HEAD = Head(
    build=build,
    targets=targets,
    losses=losses,
    positives=positives,
    detect=detect,
    candidates=candidates,
    anchors=config_anchors,
    codes=codes,
    objects=objects,
)
