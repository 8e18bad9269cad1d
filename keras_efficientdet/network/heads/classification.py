"""EfficientNet's head: one class for the whole image.

To the rest of the library, an image of a class is an image with one object that fills it. So data,
augmentation, training, evaluation, exports and servers need nothing new for classifiers.
"""

import math

import keras
import tensorflow as tf

from keras_efficientdet.config.choices import SCALINGS
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.network.backbones.efficientnet import head_filters
from keras_efficientdet.network.blocks import FAN_OUT_NORMAL, activation, batch_norm, conv2d, l2
from keras_efficientdet.network.heads.head import Head, above, at_least_one
from keras_efficientdet.network.layers import Dropout
from keras_efficientdet.network.losses import ClassificationLoss
from keras_efficientdet.ops.boxes import area

IMAGENET_CLASSES = 1000


def build(features, config):
    """{level: [B, h, w, C]} -> {'logits': float32 [B, num_classes]}, from the highest level.

    Source: EfficientNet paper table 1, stage 9; google/automl efficientnet_model.Head.
    """
    model, decay = config.model, config.train.weight_decay
    if model.backbone_name not in SCALINGS:
        raise ConfigError(
            f'the head classification is that of EfficientNets, found {model.backbone_name}; Keras '
            'has classifiers of its other networks itself: keras.applications'
        )
    name = f'{model.backbone_name}.head'
    conv = conv2d(
        head_filters(model.backbone_name),
        use_bias=False,
        initializer=FAN_OUT_NORMAL,
        weight_decay=decay,
        name=f'{name}.conv2d',
    )
    x = batch_norm(f'{name}.tpu_batch_normalization')(conv(features[max(features)]))
    x = activation(model.act_type, f'{name}.activation')(x)
    x = keras.layers.GlobalAveragePooling2D(name=f'{name}.mean')(x)
    if model.dropout:
        x = Dropout(1.0 - model.dropout, name=f'{name}.dropout')(x)
    return {'logits': _dense(model.num_classes, decay, f'{name}.dense')(x)}


def _dense(classes, weight_decay, name):
    # Officially 1 / sqrt(classes), which is meant for ImageNet: with 3 classes, logits would begin
    # with a deviation of 6 and the loss with 6.
    spread = 1.0 / math.sqrt(max(classes, IMAGENET_CLASSES))
    return keras.layers.Dense(
        classes,
        kernel_initializer=keras.initializers.RandomUniform(-spread, spread),
        kernel_regularizer=l2(weight_decay),
        dtype='float32',  # under mixed precision, too
        name=name,
    )


def targets(config):
    """Encodes boxes [N, 4], classes [N] as {'logits': float32 [num_classes]}, shares of classes.

    The share of a class is the area of its boxes in that of all boxes: 1 for the class of an image,
    less where images were mixed. An image without boxes has no class, and shares of 0.
    """
    classes_count = config.model.num_classes

    def encode_example(boxes, classes):
        areas = area(boxes)  # [N]
        shares = tf.math.divide_no_nan(areas, tf.reduce_sum(areas))
        encoded = {'logits': tf.reduce_sum(shares[:, None] * tf.one_hot(classes, classes_count), 0)}
        encoded['logits'].set_shape([classes_count])
        return encoded, positives(encoded)

    return encode_example


def positives(targets):
    """Number of images that have a class, float32."""
    return tf.reduce_sum(targets['logits'])


def losses(config):
    """({output: loss}, {output: weight}) for `model.compile`."""
    return {'logits': ClassificationLoss(config.train.label_smoothing)}, {'logits': 1.0}


def detect(outputs, config):
    """The best classes, each with a box as large as the network's input."""
    settings, size = config.detect, config.model.image_size
    count = min(settings.max_output_size, config.model.num_classes)
    scores, classes = tf.math.top_k(tf.nn.softmax(outputs['logits']), count)  # [B, count]
    return above(settings.score_thresh, tf.constant([0.0, 0.0, *size]), scores, classes)


HEAD = Head(
    build=build,
    targets=targets,
    losses=losses,
    positives=positives,
    detect=detect,
    divisor=at_least_one,
    finds='images',
)
