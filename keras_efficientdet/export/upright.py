"""Encoded photos to upright pictures inside a graph: the EXIF orientation, read by tensor operations."""

import tensorflow as tf

from keras_efficientdet.ops import images

_SEARCHED = 1 << 18  # bytes; cameras write EXIF first, and a segment holds at most 64 KiB
_EXIF = tuple(b'Exif\0\0')
_START_OF_IMAGE, _START_OF_SCAN, _APP1, _ORIENTATION = 0xFFD8, 0xFFDA, 0xFFE1, 0x0112


def decode_upright(encoded):
    """JPEG, PNG, GIF or BMP bytes (scalar string) -> uint8 [H, W, 3], turned by the EXIF orientation of a JPEG."""
    return turn(images.decode(encoded), orientation(encoded))


def turn(image, orientation):
    """Undoes an EXIF orientation (1 to 8): [H, W, C] -> [H, W, C] or [W, H, C]."""
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    for axis, turned in ((0, (3, 4, 7, 8)), (1, (2, 3, 6, 7))):
        image = tf.cond(
            tf.reduce_any(orientation == turned),
            lambda i=image, a=axis: tf.reverse(i, [a]),
            lambda i=image: i,
        )
    return image


def orientation(encoded):
    """EXIF orientation of JPEG bytes (scalar string): int64 1 to 8; 1 where there is none, or it is damaged."""
    data = tf.cast(tf.io.decode_raw(tf.strings.substr(encoded, 0, _SEARCHED), tf.uint8), tf.int64)
    data = tf.pad(data, [[0, 2]])  # never empty
    header = _find_exif(data)
    value = tf.cond(
        header > 0, lambda: _orientation_in(data, header), lambda: tf.constant(1, tf.int64)
    )
    return tf.where((value >= 1) & (value <= 8), value, 1)


def _number(data, at, count, little=False):
    """The unsigned number in `count` bytes at one place or many, big-endian unless `little`; the last byte goes on for ever."""
    digits = tf.gather(
        data,
        tf.minimum(at[..., None] + tf.range(count, dtype=tf.int64), tf.size(data, tf.int64) - 1),
    )
    powers = tf.constant([256 ** (count - 1 - k) for k in range(count)], tf.int64)
    return tf.reduce_sum(digits * tf.where(little, powers[::-1], powers), -1)


def _find_exif(data):
    """Goes from segment to segment of a JPEG: where the TIFF header of its EXIF begins, 0 if nowhere."""
    size, zero = tf.size(data, tf.int64), tf.constant(0, tf.int64)

    def more(at, found):
        marker = _number(data, at, 2)
        return (found == 0) & (at + 10 < size) & (marker >= 0xFF00) & (marker != _START_OF_SCAN)

    def step(at, found):
        named = tf.reduce_all(data[at + 4 : at + 10] == _EXIF)
        found = tf.where((_number(data, at, 2) == _APP1) & named, at + 10, found)
        return at + 2 + tf.maximum(_number(data, at + 2, 2), 2), found

    start = tf.where(_number(data, zero, 2) == _START_OF_IMAGE, tf.constant(2, tf.int64), size)
    return tf.while_loop(more, step, (start, zero))[1]


def _orientation_in(data, header):
    """The value of the orientation tag in the first directory of a TIFF header; 1 if it is not there."""
    little = data[header] == ord('I')
    directory = header + _number(data, header + 4, 4, little)
    entries = directory + 2 + 12 * tf.range(_number(data, directory, 2, little))
    values = tf.boolean_mask(
        _number(data, entries + 8, 2, little), _number(data, entries, 2, little) == _ORIENTATION
    )
    return tf.concat([values, [1]], 0)[0]
