"""CenterNet's head: a peak for the centre of each object, and at the peak its size and offset.

Source: Objects as Points, arXiv:1904.07850.
"""

import math

import keras
import numpy as np
import tensorflow as tf

from keras_efficientdet.network.heads.head import Head, above, at_least_one, conv_tower
from keras_efficientdet.network.losses import CenterLoss, HeatMapLoss
from keras_efficientdet.ops.anchors import feature_sizes
from keras_efficientdet.ops.boxes import clip
from keras_efficientdet.ops.heat_maps import gaussian_radius, heat_map, peaks

# Untrained, every cell has a probability of 0.1 (the paper's code).
PRIOR_BIAS = -math.log(9.0)
SIZE_WEIGHT = 0.1  # of the loss of sizes, which are in cells


def grid(config):
    """(height, width) of the maps, and the size of a cell, float32 [2], in pixels of the input."""
    model = config.model
    shape = feature_sizes(model.image_size, model.min_level)[-1]
    return shape, np.float32(model.image_size) / np.float32(shape)


def build(features, config):
    """{level: [B, h, w, C]} -> maps of the lowest level: 'heat' logits, 'size', 'offset'.

    Heat is [B, h, w, num_classes], the others are [B, h, w, 2] of y and x, in cells.
    """
    model = config.model
    level = min(features)
    shared = {
        'repeats': model.box_class_repeats,
        'filters': model.fpn_num_filters,
        'act_type': model.act_type,
        'separable': model.separable_conv,
        'weight_decay': config.train.weight_decay,
    }
    towers = {
        'heat': ('class_net.class', model.num_classes, PRIOR_BIAS),
        'size': ('size_net.size', 2, 0.0),
        'offset': ('offset_net.offset', 2, 0.0),
    }
    outputs = {}
    for output, (name, width, bias) in towers.items():
        tower = conv_tower(
            {level: features[level]},
            name=name,
            outputs=width,
            bias_initializer=keras.initializers.Constant(bias),
            **shared,
        )
        outputs[output] = keras.layers.Identity(name=output, dtype='float32')(tower[level])
    return outputs


def targets(config):
    """Encodes boxes [N, 4], classes [N] as 'heat' [h, w, num_classes], 'size' and 'offset'.

    The last two are [h, w, 3]: y, x, and 1 at the centre of an object, all 0 elsewhere. Of several
    objects with their centre in one cell, the last one is kept.
    """
    shape, cell = grid(config)

    def encode_example(boxes, classes):
        sizes = (boxes[:, 2:] - boxes[:, :2]) / cell
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2.0 / cell
        places = tf.minimum(tf.cast(middle, tf.int32), tf.constant(shape) - 1)  # [N, 2]
        radii = tf.cast(gaussian_radius(tf.math.ceil(sizes)), tf.int32)
        encoded = {
            'heat': heat_map(places, radii, classes, (*shape, config.model.num_classes)),
            'size': _at(places, sizes, shape),
            'offset': _at(places, middle - tf.cast(places, tf.float32), shape),
        }
        return encoded, positives(encoded)

    return encode_example


def _at(places, values, shape):
    """[h, w, 3]: values [N, 2] and 1 at the places [N, 2], 0 elsewhere."""
    marked = tf.concat([values, tf.ones_like(values[:, :1])], -1)
    return tf.tensor_scatter_nd_update(tf.zeros([*shape, 3]), places, marked)


def positives(targets):
    """Number of cells with the centre of an object, float32."""
    return tf.reduce_sum(targets['size'][..., 2])


def losses(config):
    """({output: loss}, {output: weight}) for `model.compile`."""
    return (
        {
            'heat': HeatMapLoss(),
            'size': CenterLoss(name='size_loss'),
            'offset': CenterLoss(name='offset_loss'),
        },
        {'heat': 1.0, 'size': SIZE_WEIGHT, 'offset': 1.0},
    )


def detect(outputs, config):
    """The best peaks, each with the box around it; there is no non-maximum suppression."""
    settings = config.detect
    _, cell = grid(config)
    y, x, scores, classes = peaks(tf.sigmoid(outputs['heat']), settings.max_output_size)
    place = tf.stack([y, x], -1)  # [B, D, 2]
    offset = tf.gather_nd(outputs['offset'], place, batch_dims=1)
    half = tf.maximum(tf.gather_nd(outputs['size'], place, batch_dims=1), 0.0) / 2.0
    middle = tf.cast(place, tf.float32) + offset
    boxes = tf.concat([middle - half, middle + half], -1) * np.tile(cell, 2)
    inside = clip(boxes, *config.model.image_size)
    return above(settings.score_thresh, inside, scores, classes)


HEAD = Head(
    build=build,
    targets=targets,
    losses=losses,
    positives=positives,
    detect=detect,
    divisor=at_least_one,
)
