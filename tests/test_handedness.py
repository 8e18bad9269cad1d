"""Left and right of key points in mirrored images."""

import numpy as np
import pytest
import tensorflow as tf

from keras_efficientdet.data import augment

IMAGE = tf.zeros([40, 60, 3], tf.uint8)


@pytest.mark.parametrize(
    ('names', 'ids'),
    [
        (('nose', 'left_eye', 'right_eye'), [0, 2, 1]),
        (('Left Wing', 'Right Wing', 'Tail'), [1, 0, 2]),
        (('eye_l', 'eye_r', 'collar'), [1, 0, 2]),
        (('LEFT', 'RIGHT'), [1, 0]),
        (('leftEar', 'rightEar', 'bright spot'), [1, 0, 2]),
        (('left_hand',), [0]),  # the other one is not there
    ],
)
def test_names(names, ids):
    assert augment.mirrored_ids(names) == ids


@pytest.mark.parametrize(('flip', 'mirrors'), [(0.9, True), (0.1, False)])
@pytest.mark.parametrize('way', [augment.random_flip, augment.random_vertical_flip])
def test_only_a_mirror_image_changes_sides(way, flip, mirrors):
    _, transform = way(IMAGE, tf.constant(flip))
    example = {'classes': tf.constant([0, 1, 2, 1])}
    found = augment.with_sides(example, transform, [0, 2, 1])['classes'].numpy().tolist()
    assert found == ([0, 2, 1, 2] if mirrors else [0, 1, 2, 1])


def test_points_follow_and_leave():
    """What stays in the image moves as its pixel does; what leaves becomes all 0."""
    points = tf.constant([[10.0, 20.0, 10.0, 20.0], [39.0, 5.0, 39.0, 5.0]])
    _, transform = augment.random_flip(IMAGE, tf.constant(0.9))
    moved = augment.move({'boxes': points}, transform)['boxes'].numpy()
    np.testing.assert_allclose(moved, [[10, 40, 10, 40], [39, 55, 39, 55]])
    down = augment.Transform(
        tf.constant([[1.0, 0.0, 5.0], [0.0, 1.0, 0.0]]),
        tf.constant([40, 60]),
        tf.constant([[0.0, 0.0], [40.0, 60.0]]),
    )
    shifted = augment.move({'boxes': points}, down)['boxes']
    np.testing.assert_allclose(shifted, [[15, 20, 15, 20], [0, 0, 0, 0]])
    assert augment.is_point(shifted).numpy().tolist() == [True, False]
