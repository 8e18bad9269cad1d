"""Classes that a mirrored image shows as each other: a left hand becomes a right one."""

import re

import tensorflow as tf

_OTHER = {'left': 'right', 'right': 'left', 'l': 'r', 'r': 'l'}
# `left` and `right` anywhere, `l` and `r` as words of their own: 'left_eye', 'leftEye', 'eye_l'.
_SIDE = re.compile(r'left|right|(?<![a-z])[lr](?![a-z])', re.IGNORECASE)


def mirrored_ids(names: tuple[str, ...]) -> list[int]:
    """The class id that each class has in a mirrored image: that of the other side, or its own."""
    places = {name: i for i, name in enumerate(names)}
    return [places.get(_SIDE.sub(_other_side, name), i) for i, name in enumerate(names)]


def _other_side(match):
    side = match.group()
    other = _OTHER[side.lower()]
    if side.isupper():
        return other.upper()
    return other.capitalize() if side[0].isupper() else other


def with_sides(example: dict, transform, ids: list[int]) -> dict:
    """The example with the classes of the other side, if the Transform mirrors.

    ids: of `mirrored_ids`.
    """
    mirrors = tf.linalg.det(transform.matrix[:, :2]) < 0.0
    other = tf.gather(tf.constant(ids, tf.int32), example['classes'])
    return {**example, 'classes': tf.where(mirrors, other, example['classes'])}
