"""The head of semantic segmentation: a class, or the background, for each place of the image.

Its classes are numbered from 1 on, in class order, and 0 is the background.
"""

import keras
import tensorflow as tf

from keras_efficientdet.errors import ConfigError
from keras_efficientdet.network.blocks import activation, batch_norm, l2
from keras_efficientdet.network.heads.head import Head, at_least_one
from keras_efficientdet.network.losses import SegmentationLoss
from keras_efficientdet.ops.anchors import feature_sizes
from keras_efficientdet.ops.class_masks import IGNORED, at_cells

OUTPUT = 'segmentation'


def channels(model):
    """How many classes the logits have: background and all classes, if not configured."""
    return model.seg_num_classes or model.num_classes + 1


def stride(model):
    """Pixels of the network's input to one place of the logits."""
    return 2 ** (model.min_level - 1)


def build(features, config):
    """{level: [B, h, w, C]} -> {'segmentation': float32 logits [B, H, W, channels]}.

    From the highest level down: doubled by a transposed convolution, and joined with the level of
    that size; in the end doubled once more, so that H and W are twice those of the lowest level.
    Source: google/automl keras.efficientdet_keras.SegmentationHead.
    """
    model, decay = config.model, config.train.weight_decay
    top, *lower = sorted(features, reverse=True)
    x = features[top]
    for step, level in enumerate(lower):
        conv = _doubling(model.fpn_num_filters, _name(step), decay, use_bias=False)
        x = batch_norm(f'segmentation_head.bn_{step}')(conv(x))
        x = activation(model.act_type, f'segmentation_head.activation_{step}')(x)
        x = keras.layers.Concatenate(name=f'segmentation_head.concat_{step}')(
            [_as_large_as(features[level], x, step), features[level]]
        )
    predict = _doubling(channels(model), _name(len(lower)), decay, dtype='float32')
    return {OUTPUT: keras.layers.Identity(name=OUTPUT, dtype='float32')(predict(x))}


def _name(step):
    return f'segmentation_head.conv2d_transpose{f"_{step}" if step else ""}'


def _doubling(filters, name, weight_decay, **kwargs):
    regularizer = l2(weight_decay)
    return keras.layers.Conv2DTranspose(
        filters, 3, 2, 'same', kernel_regularizer=regularizer, name=name, **kwargs
    )


def _as_large_as(feature, x, step):
    """x without its last row or column, where a level of odd size was rounded up when halved."""
    height, width = (
        doubled - wanted for doubled, wanted in zip(x.shape[1:3], feature.shape[1:3], strict=True)
    )
    if not height and not width:
        return x
    cut = keras.layers.Cropping2D(((0, height), (0, width)), name=f'segmentation_head.cut_{step}')
    return cut(x)


def targets(config):
    """Encodes a mask uint8 [H, W, 1] of the network's input as {'segmentation': int32 [h, w]}.

    Each place has the class of the pixel in its middle. Boxes and classes are not used. Raises
    ConfigError where `seg_num_classes` is too small for the classes of the data.
    """
    model = config.model
    if channels(model) <= model.num_classes:
        raise ConfigError(
            f'seg_num_classes={model.seg_num_classes} has no place for the background and '
            f'num_classes={model.num_classes}; set it to {model.num_classes + 1}, or leave it out'
        )
    shape = [2 * side for side in feature_sizes(model.image_size, model.min_level)[-1]]

    def encode_example(boxes, classes, mask):
        encoded = {OUTPUT: at_cells(mask, shape, stride(model))}
        return encoded, positives(encoded)

    return encode_example


def positives(targets):
    """Number of places whose class is known, float32."""
    return tf.reduce_sum(tf.cast(targets[OUTPUT] != IGNORED, tf.float32))


def losses(config):
    """({output: loss}, {output: weight}) for `model.compile`."""
    return {OUTPUT: SegmentationLoss()}, {OUTPUT: 1.0}


def detect(outputs, config):
    """No objects: what this head finds is its mask."""
    shape = tf.stack([tf.shape(outputs[OUTPUT])[0], config.detect.max_output_size])
    nothing = tf.zeros(shape)
    return (
        tf.zeros(tf.concat([shape, [4]], 0)),
        nothing,
        tf.cast(nothing, tf.int32),
        tf.zeros(shape[:1], tf.int32),
    )


def mask(outputs, config):
    """The class of each pixel of the network's input, uint8 [B, height, width].

    Logits are interpolated before the largest is taken, so that edges are smooth.
    """
    model = config.model
    logits = outputs[OUTPUT]
    fine = [side * stride(model) for side in logits.shape[1:3]]
    large = tf.image.resize(logits, fine)[:, : model.image_size[0], : model.image_size[1]]
    return tf.cast(tf.argmax(large, -1, output_type=tf.int32), tf.uint8)


HEAD = Head(
    build=build,
    targets=targets,
    losses=losses,
    positives=positives,
    detect=detect,
    divisor=at_least_one,
    annotations=('mask',),
    mask=mask,
    finds='masks',
    metric='mIoU',
)
