"""A small detection head that is not part of the library: one object per cell of one pyramid level.

It shows what a head has to bring along, and test_second_head.py shows that nothing else is needed.
"""

import keras
import numpy as np
import tensorflow as tf

from keras_efficientdet.network import losses as _losses
from keras_efficientdet.network.heads.head import Head, conv_tower
from keras_efficientdet.ops.anchors import feature_sizes
from keras_efficientdet.ops.boxes import clip

NOTHING = -1  # class target of a cell in which no object has its centre


def cells(config):
    """Centres y, x of the cells, float32 [C, 2] in pixels of the input; the size of a cell."""
    model = config.model
    height, width = feature_sizes(model.image_size, model.min_level)[-1]
    size = np.array(model.image_size, np.float32) / np.array([height, width], np.float32)
    rows, columns = np.divmod(np.arange(height * width), width)
    return (np.stack([rows, columns], 1).astype(np.float32) + 0.5) * size, size


def build(features, config):
    """{level: [B, h, w, F]} -> {'score': [B, C, num_classes] logits, 'where': [B, C, 4] sides}.

    Sides are the distances from the centre of the cell to ymin, xmin, ymax and xmax, in cells.
    """
    model = config.model
    level = {model.min_level: features[model.min_level]}
    outputs = {}
    for name, width in (('score', model.num_classes), ('where', 4)):
        tower = conv_tower(level, name=f'{name}_net.{name}', repeats=1, filters=16, outputs=width)
        reshape = keras.layers.Reshape((-1, width), name=name, dtype='float32')
        outputs[name] = reshape(tower[model.min_level])
    return outputs


def targets(config):
    centres, size = cells(config)
    height, width = feature_sizes(config.model.image_size, config.model.min_level)[-1]

    def encode_example(boxes, classes):
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2 / size
        row, column = tf.unstack(tf.cast(middle, tf.int32), axis=1)
        row, column = tf.minimum(row, height - 1), tf.minimum(column, width - 1)
        cell = row * width + column  # [N]
        sides = (boxes - tf.tile(tf.gather(centres, cell), [1, 2])) / tf.tile(size, [2])
        nothing = tf.fill([len(centres)], NOTHING)
        encoded = {
            'score': tf.tensor_scatter_nd_update(
                nothing, cell[:, None], tf.cast(classes, tf.int32)
            ),
            'where': tf.tensor_scatter_nd_update(tf.zeros([len(centres), 4]), cell[:, None], sides),
        }
        return encoded, positives(encoded)

    return encode_example


def positives(targets):
    return tf.reduce_sum(tf.cast(targets['score'] != NOTHING, tf.float32))


def losses(config):
    return (
        {'score': _losses.FocalLoss(), 'where': _losses.BoxLoss()},
        {'score': 1.0, 'where': 5.0},
    )


def detect(outputs, config):
    """The best class of each cell, best cells first; overlapping boxes are all kept."""
    settings = config.detect
    centres, size = cells(config)
    boxes = outputs['where'] * np.tile(size, 2) + np.tile(centres, [1, 2])
    # An untrained network may predict a bottom above the top; consumers rely on the order.
    corners = boxes[..., :2], boxes[..., 2:]
    boxes = tf.concat([tf.minimum(*corners), tf.maximum(*corners)], -1)
    boxes = clip(boxes, *config.model.image_size)
    logits = tf.reduce_max(outputs['score'], -1)
    classes = tf.argmax(outputs['score'], -1, output_type=tf.int32)
    best, cell = tf.math.top_k(logits, settings.max_output_size)
    scores = tf.sigmoid(best)
    found = scores > settings.score_thresh
    return (
        tf.where(found[..., None], tf.gather(boxes, cell, batch_dims=1), 0.0),
        tf.where(found, scores, 0.0),
        tf.where(found, tf.gather(classes, cell, batch_dims=1), 0),
        tf.reduce_sum(tf.cast(found, tf.int32), 1),
    )


HEAD = Head(build=build, targets=targets, losses=losses, positives=positives, detect=detect)
