"""Annotations of an image, and the one function that moves them when their image is moved.

An example is a dict of `image` [H, W, 3] and annotations by name: `boxes` float32 [N, 4] (ymin,
xmin, ymax, xmax in pixels of the image), `classes` int32 [N], `crowd` bool [N], `area` float32 [N]
(as annotated, in pixels of the original image), and for some heads `mask` uint8 [H, W, 1]
(`ops.class_masks`).

An operation that moves pixels returns the moved image and a Transform; `move` applies the Transform
to whatever an example holds. A new kind of annotation is one more row of `_MOVERS`.
"""

import math
import typing

import tensorflow as tf

from keras_efficientdet.ops import class_masks
from keras_efficientdet.ops.boxes import area

OF_EACH_OBJECT = ('boxes', 'classes', 'crowd', 'area')  # annotations with one row per object
UNBOUNDED = ((-math.inf, -math.inf), (math.inf, math.inf))


class Transform(typing.NamedTuple):
    """Where an operation has moved the pixels of an image.

    The point (y, x), measured in pixels from the top left corner of the image, so that the centre
    of the first pixel is (0.5, 0.5), goes to matrix @ (y, x, 1).
    """

    matrix: tf.Tensor  # float32 [2, 3]
    size: tf.Tensor  # int32 [2]: height and width of the image afterwards
    bounds: tf.Tensor  # float32 [2, 2]: smallest and largest (y, x), to which boxes are clipped


def transform(y_row, x_row, size, bounds=UNBOUNDED):
    """A Transform of the two rows of its matrix."""
    matrix = tf.stack([tf.stack(y_row), tf.stack(x_row)])
    return Transform(matrix, tf.convert_to_tensor(size), tf.convert_to_tensor(bounds, tf.float32))


def axis_aligned(scale, shift, size, bounds=UNBOUNDED):
    """The Transform (y, x) -> scale * (y, x) + shift; scale and shift are pairs of numbers."""
    y_scale, x_scale = scale
    y_shift, x_shift = shift
    return transform((y_scale, 0.0, y_shift), (0.0, x_scale, x_shift), size, bounds)


def unmoved(image, bounds=UNBOUNDED):
    """The Transform of an operation that moves nothing."""
    return axis_aligned((1.0, 1.0), (0.0, 0.0), tf.shape(image)[:2], bounds)


def move(annotations, transform):
    """The annotations after their image was moved. Those without a place in the image stay."""
    return {
        name: _MOVERS[name](value, transform) if name in _MOVERS else value
        for name, value in annotations.items()
    }


def moved(example, image, transform):
    """The example with a moved image in place of its own, and its annotations moved likewise."""
    return {**move(example, transform), 'image': image}


def select(annotations, kept):
    """The annotations of the objects that are marked in `kept`, bool [N]."""
    return {
        name: value[kept] if name in OF_EACH_OBJECT else value
        for name, value in annotations.items()
    }


def with_area(boxes):
    """bool [N]: boxes that still have an area."""
    return area(boxes) > 0.0


def is_point(boxes):
    """bool [N]: key points, which are boxes without size, that have not left the image."""
    without_size = tf.reduce_all(boxes[:, :2] == boxes[:, 2:], -1)
    return without_size & tf.reduce_any(boxes != 0.0, -1)


def _move_boxes(boxes, transform):
    """The boxes around the moved corners of boxes [N, 4], clipped to the bounds.

    Each coordinate of a moved corner is a sum of one product with y and one with x, so the smallest
    coordinate of the four corners is the sum of the smallest products.
    """
    corners = tf.reshape(boxes, [-1, 2, 1, 2])  # [N, (min, max), 1, (y, x)]
    products = corners * transform.matrix[:, :2]  # [N, (min, max), (new y, new x), (y, x)]
    shift = transform.matrix[:, 2]
    low = tf.reduce_sum(tf.reduce_min(products, 1), -1) + shift
    high = tf.reduce_sum(tf.reduce_max(products, 1), -1) + shift
    smallest, largest = tf.unstack(tf.tile(transform.bounds, [1, 2]))
    cut = tf.clip_by_value(tf.concat([low, high], -1), smallest, largest)
    # A box that loses its area becomes all 0, and none gains an area: the box around the turned
    # corners of a line would have one. A point that leaves the image becomes all 0 as well.
    same = tf.equal(with_area(boxes), with_area(cut))
    left = tf.reduce_all(low == high, -1) & tf.reduce_any(cut[:, :2] != low, -1)
    return tf.where((same & ~left)[:, None], cut, 0.0)


def _move_mask(mask, transform):
    return class_masks.warped(mask, *transform)


_MOVERS = {'boxes': _move_boxes, 'mask': _move_mask}
