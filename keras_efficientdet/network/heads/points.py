"""The head of key points: in each cell of the finest level, some points with their classes.

To the rest of the library a key point is an object whose box has no size: ymin = ymax, xmin = xmax.
So data, augmentation, exports and servers need nothing new for it. An object with a size counts as
the point in its middle.
"""

import math

import keras
import tensorflow as tf

from keras_efficientdet.network.heads.head import Head, above, at_least_one, conv_tower
from keras_efficientdet.network.losses import FocalLoss, PointLoss
from keras_efficientdet.ops.anchors import feature_sizes

NOTHING = -1  # class target of a place without a point
PRIOR_BIAS = -math.log(99.0)  # untrained, every place gives every class 0.01, as in anchor.py


def grid(config):
    """((rows, columns) of cells, points in each); one cell with `point_cells=image`."""
    model = config.model
    if model.point_cells == 'image':
        return (1, 1), model.points_per_cell
    return feature_sizes(model.image_size, model.min_level)[-1], model.points_per_cell


def cell_size(config):
    """(height, width) of a cell in pixels of the network's input."""
    (rows, columns), _ = grid(config)
    height, width = config.model.image_size
    return height / rows, width / columns


def build(features, config):
    """{level: [B, h, w, C]} -> 'classes' [B, N, num_classes] logits, 'points' [B, N, 2] logits.

    N is the number of cells times the points of a cell, rows first. The sigmoid of 'points' is
    y, x inside of the cell.
    """
    model = config.model
    whole = model.point_cells == 'image'
    level = max(features) if whole else min(features)
    outputs = {}
    for name, width, bias in (('classes', model.num_classes, PRIOR_BIAS), ('points', 2, 0.0)):
        bias_initializer = keras.initializers.Constant(bias)
        tower = conv_tower(
            {level: features[level]},
            name=f'{name}_net.{name}',
            repeats=model.box_class_repeats,
            filters=model.fpn_num_filters,
            outputs=model.fpn_num_filters if whole else model.points_per_cell * width,
            bias_initializer='zeros' if whole else bias_initializer,
            act_type=model.act_type,
            separable=model.separable_conv,
            weight_decay=config.train.weight_decay,
        )[level]
        if whole:
            tower = _of_whole_image(tower, model.points_per_cell * width, name, bias_initializer)
        outputs[name] = keras.layers.Reshape((-1, width), name=name, dtype='float32')(tower)
    return outputs


def _of_whole_image(x, outputs, name, bias_initializer):
    """One layer that sees every place: a mean over them would lose where things are."""
    flat = keras.layers.Flatten(name=f'{name}_net.flat')(x)
    dense = keras.layers.Dense(
        outputs, bias_initializer=bias_initializer, dtype='float32', name=f'{name}_net.dense'
    )
    return dense(flat)


def targets(config):
    """Encodes boxes [N, 4], classes [N] as 'classes' int32 [P] and 'points' float32 [P, 3].

    The last are y, x inside of the cell, and 1 where there is a point. If a cell has a point for
    each class, a point has the place of its class; otherwise points fill places in the order of
    the annotations. What does not fit into its cell is left out.
    """
    (rows, columns), each = grid(config)
    size = tf.constant(cell_size(config), tf.float32)
    by_class = each == config.model.num_classes

    def encode_example(boxes, classes):
        where = (boxes[:, :2] + boxes[:, 2:]) / 2.0 / size
        limit = tf.constant([rows - 1, columns - 1])
        cell = tf.clip_by_value(tf.cast(where, tf.int32), 0, limit)
        number = cell[:, 0] * columns + cell[:, 1]  # [N]
        slot = classes if by_class else _earlier(number)
        fits = slot < each
        place = tf.boolean_mask(number * each + slot, fits)[:, None]
        inside = tf.clip_by_value(where - tf.cast(cell, tf.float32), 0.0, 1.0)
        marked = tf.concat([inside, tf.ones_like(inside[:, :1])], -1)
        count = rows * columns * each
        encoded = {
            'classes': tf.tensor_scatter_nd_update(
                tf.fill([count], NOTHING), place, tf.boolean_mask(classes, fits)
            ),
            'points': tf.tensor_scatter_nd_update(
                tf.zeros([count, 3]), place, tf.boolean_mask(marked, fits)
            ),
        }
        return encoded, positives(encoded)

    return encode_example


def _earlier(numbers):
    """int32 [N]: how many of the numbers before each are equal to it."""
    equal = tf.cast(numbers[:, None] == numbers[None], tf.int32)
    return tf.reduce_sum(tf.linalg.band_part(equal, -1, 0), 1) - 1


def positives(targets):
    """Number of places with a point, float32."""
    return tf.reduce_sum(targets['points'][..., 2])


def losses(config):
    """({output: loss}, {output: weight}) for `model.compile`."""
    train = config.train
    return (
        {
            'classes': FocalLoss(train.alpha, train.gamma, train.label_smoothing),
            'points': PointLoss(train.point_loss),
        },
        {'classes': 1.0, 'points': train.point_loss_weight},
    )


def detect(outputs, config):
    """The places with the best classes, each with a box without size at its point."""
    (rows, columns), each = grid(config)
    settings = config.detect
    best = tf.reduce_max(outputs['classes'], -1)  # [B, P]
    count = min(settings.max_output_size, rows * columns * each)
    logits, place = tf.math.top_k(best, count)
    kinds = tf.argmax(outputs['classes'], -1, output_type=tf.int32)
    inside = tf.sigmoid(tf.gather(outputs['points'], place, batch_dims=1))  # [B, D, 2]
    cell = place // each
    corner = tf.cast(tf.stack([cell // columns, cell % columns], -1), tf.float32)
    points = (corner + inside) * tf.constant(cell_size(config), tf.float32)
    return above(
        settings.score_thresh,
        tf.tile(points, [1, 1, 2]),
        tf.sigmoid(logits),
        tf.gather(kinds, place, batch_dims=1),
    )


HEAD = Head(
    build=build,
    targets=targets,
    losses=losses,
    positives=positives,
    detect=detect,
    divisor=at_least_one,
    finds='points',
    metric='PCK',
)
