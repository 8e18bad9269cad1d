"""Encoded images to upright images inside a graph; EXIF is read by tensor operations."""

import tensorflow as tf

from keras_efficientdet.ops import images

# Cameras write EXIF first, and a segment holds at most 64 KiB, so it lies within these bytes.
_SEARCHED = 1 << 18
_PNG = tuple(b'\x89PNG\r\n\x1a\n')
_EXIF = tuple(b'Exif\0\0')
# Markers of JPEG segments, and the tag of TIFF.
_START_OF_IMAGE, _START_OF_SCAN, _APP1 = 0xFFD8, 0xFFDA, 0xFFE1
_FILL = 0xFFFF
_ORIENTATION = 0x0112


def decode_upright(encoded: tf.Tensor) -> tf.Tensor:
    """JPEG, PNG, GIF or BMP bytes (scalar string) -> uint8 [H, W, 3].

    A JPEG is turned by its EXIF orientation. A PNG of 16 bits is scaled like grey values in
    `imaging.pil.rgb`: by the smallest usual number of bits that holds its largest value.
    """
    image = tf.cond(
        _is_deep_png(encoded), lambda: _decode_deep(encoded), lambda: images.decode(encoded)
    )
    image.set_shape([None, None, 3])
    return turn(image, orientation(encoded))


def _is_deep_png(encoded):
    """The 25th byte of a PNG file is its number of bits."""
    head = tf.io.decode_raw(tf.strings.substr(encoded, 0, 25), tf.uint8)
    head = tf.pad(head, [[0, 25 - tf.size(head)]])
    return tf.reduce_all(head[:8] == _PNG) & (head[24] == 16)


def _decode_deep(encoded):
    values = tf.cast(tf.io.decode_png(encoded, channels=3, dtype=tf.uint16), tf.int32)
    more_than = tf.reduce_max(values) >= [2**8, 2**10, 2**12, 2**14]
    shift = 2 * tf.reduce_sum(tf.cast(more_than, tf.int32))
    return tf.cast(tf.bitwise.right_shift(values, shift), tf.uint8)


def turn(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Undoes an EXIF orientation (1 to 8): [H, W, C] -> [H, W, C] or [W, H, C]."""
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    image = _reversed_if(tf.reduce_any(orientation == (3, 4, 7, 8)), image, axis=0)
    return _reversed_if(tf.reduce_any(orientation == (2, 3, 6, 7)), image, axis=1)


def _reversed_if(condition, image, axis):
    return tf.cond(condition, lambda: tf.reverse(image, [axis]), lambda: image)


def orientation(encoded: tf.Tensor) -> tf.Tensor:
    """EXIF orientation of JPEG bytes (scalar string): int64 1 to 8; 1 if missing or damaged."""
    data = tf.cast(tf.io.decode_raw(tf.strings.substr(encoded, 0, _SEARCHED), tf.uint8), tf.int64)
    data = tf.pad(data, [[0, 2]])  # never empty
    header = _find_exif(data)
    value = tf.cond(
        header > 0, lambda: _orientation_in(data, header), lambda: tf.constant(1, tf.int64)
    )
    return tf.where((value >= 1) & (value <= 8), value, 1)


def _number(data, at, count, little=False):
    """The unsigned number in `count` bytes at one position or many, big-endian unless `little`.

    Positions behind the end read the last byte, because damaged files may point anywhere.
    """
    last = tf.size(data, tf.int64) - 1
    places = at[..., None] + tf.range(count, dtype=tf.int64)
    digits = tf.gather(data, tf.minimum(places, last))
    powers = tf.constant([256 ** (count - 1 - k) for k in range(count)], tf.int64)
    return tf.reduce_sum(digits * tf.where(little, powers[::-1], powers), -1)


def _find_exif(data):
    """Position of the TIFF header in the EXIF of a JPEG, 0 without one; steps over its segments.

    A segment is a marker of two bytes, a length of two bytes that counts itself, and contents.
    """
    size, zero = tf.size(data, tf.int64), tf.constant(0, tf.int64)

    def more(at, found):
        marker = _number(data, at, 2)
        is_segment = (marker >= 0xFF00) & (marker != _START_OF_SCAN)
        return (found == 0) & (at + 10 < size) & is_segment

    def step(at, found):
        marker, contents = _number(data, at, 2), at + 4
        is_exif = tf.reduce_all(data[contents : contents + 6] == _EXIF)
        found = tf.where((marker == _APP1) & is_exif, contents + 6, found)
        length = tf.maximum(_number(data, at + 2, 2), 2)  # 0 of a damaged file would loop forever
        # Any number of FF may stand before a marker.
        return at + tf.where(marker == _FILL, tf.constant(1, tf.int64), 2 + length), found

    is_jpeg = _number(data, zero, 2) == _START_OF_IMAGE
    start = tf.where(is_jpeg, tf.constant(2, tf.int64), size)
    return tf.while_loop(more, step, (start, zero))[1]


def _orientation_in(data, header):
    """The orientation in the first directory of a TIFF header; 1 if it has none.

    The header is a byte order, 42, and the position of the directory: a count, and entries of 12
    bytes, which begin with their tag and hold a short value from byte 8 on.
    """
    little = data[header] == ord('I')
    directory = header + _number(data, header + 4, 4, little)
    entries = directory + 2 + 12 * tf.range(_number(data, directory, 2, little))
    tags = _number(data, entries, 2, little)
    values = tf.boolean_mask(_number(data, entries + 8, 2, little), tags == _ORIENTATION)
    return tf.concat([values, [1]], 0)[0]
