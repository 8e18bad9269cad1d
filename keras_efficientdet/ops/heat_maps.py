"""Heat maps of object centres: Gaussians to learn from, peaks to find again."""

import tensorflow as tf

SMALLEST_OVERLAP = 0.7  # of a box whose corners moved by the radius, as an IoU


def gaussian_radius(sizes):
    """How far the corners of boxes may move while the IoU with the box stays at least 0.7.

    Args:
      sizes: float32 [N, 2], height and width.
    Returns:
      float32 [N], the smallest of three cases: both corners outwards, both inwards, one of each.
    Source: CornerNet section 3.2. Its code, and that of CenterNet, solves two of the three
    equations with another sign and denominator; these are the solutions.
    """
    total, area = tf.reduce_sum(sizes, -1), tf.reduce_prod(sizes, -1)
    o = SMALLEST_OVERLAP
    moved = _root(1.0, -total, area * (1.0 - o) / (1.0 + o))
    inwards = _root(4.0, -2.0 * total, area * (1.0 - o))
    outwards = _root(4.0 * o, 2.0 * o * total, -area * (1.0 - o))
    return tf.minimum(tf.minimum(moved, inwards), outwards)


def _root(a, b, c):
    """The smallest positive r with a r^2 + b r + c = 0."""
    root = tf.sqrt(tf.maximum(b * b - 4.0 * a * c, 0.0))
    return tf.where(b < 0.0, -b - root, root - b) / (2.0 * a)


def heat_map(centres, radii, classes, shape):
    """The Gaussian of each object in the map of its class; where they overlap, the larger value.

    Args:
      centres: int32 [N, 2], y and x of cells. radii: int32 [N], in cells.
      classes: int32 [N], below the last of `shape`.
      shape: (height, width, number of classes).
    Returns:
      float32 [height, width, classes], 1 at each centre. A Gaussian has sigma = (2 r + 1) / 6 and
      is 0 beyond r cells in y or x.
    """
    height, width, count = shape
    sigma = (2.0 * tf.cast(radii, tf.float32) + 1.0) / 6.0
    y, x = (
        _bell(tf.range(side)[None] - centres[:, axis, None], radii, sigma)
        for axis, side in enumerate((height, width))
    )
    bells = y[:, :, None] * x[:, None, :]  # [N, height, width]
    largest = tf.math.unsorted_segment_max(bells, classes, count)  # very negative where none is
    return tf.transpose(tf.maximum(largest, 0.0), [1, 2, 0])


def _bell(distance, radii, sigma):
    """[N, side]: exp(-d^2 / (2 sigma^2)) of integer distances, 0 beyond the radius."""
    inside = tf.abs(distance) <= radii[:, None]
    d = tf.cast(distance, tf.float32) / sigma[:, None]
    return tf.where(inside, tf.exp(-0.5 * d * d), 0.0)


def peaks(heat, count):
    """The best local maxima of 3x3 cells: cells y, x int32 [B, count], scores, classes [B, count].

    Args:
      heat: float32 [B, height, width, classes].
    """
    _, height, width, classes = heat.shape
    highest = tf.nn.max_pool2d(heat, 3, 1, 'SAME')
    kept = tf.where(heat >= highest, heat, 0.0)
    scores, places = tf.math.top_k(tf.reshape(kept, [-1, height * width * classes]), count)
    cells = places // classes
    return cells // width, cells % width, scores, places % classes
