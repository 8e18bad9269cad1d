"""Hidden parts: where they are, how much they hide, and tensorflow-addons' cutout."""

import numpy as np
import pytest
import tensorflow as tf

from keras_efficientdet.data.augment import masks

WHITE = tf.fill([40, 60, 3], tf.constant(255, tf.uint8))


def hidden(image):
    return np.asarray(image)[..., 0] != 255


@pytest.mark.parametrize(
    ('centre', 'half', 'inside'),
    [
        ((20, 30), (5, 8), (slice(15, 25), slice(22, 38))),
        ((0, 0), (4, 4), (slice(0, 4), slice(0, 4))),
        ((39, 59), (3, 3), (slice(36, 40), slice(56, 60))),
        ((20, 30), (0, 0), (slice(0, 0), slice(0, 0))),
    ],
)
def test_cutout_by_hand(centre, half, inside):
    expected = np.zeros((40, 60), bool)
    expected[inside] = True
    np.testing.assert_array_equal(hidden(masks.cutout(WHITE, centre, half)), expected)


def test_cutout_is_that_of_tensorflow_addons():
    tfa = pytest.importorskip(
        'tensorflow_addons', reason='tensorflow-addons imports on TensorFlow 2.15 alone'
    )
    for centre, half in (((20, 30), (5, 8)), ((2, 57), (6, 6)), ((39, 0), (9, 3))):
        expected = tfa.image.cutout(
            WHITE[None], (2 * half[0], 2 * half[1]), offset=centre, constant_values=masks.GREY
        )[0]
        np.testing.assert_array_equal(masks.cutout(WHITE, centre, half), expected)


def test_random_cutouts_reach_every_corner():
    places = [hidden(masks.random_cutout(WHITE, 3, [k, 1])) for k in range(60)]
    assert all(0 < p.sum() <= 36 for p in places)
    assert np.any([p[:8, :8].any() for p in places]) and np.any([p[-8:, -8:].any() for p in places])


def test_box_cutout_stays_near_its_box():
    box = np.array([[10.0, 20.0, 30.0, 50.0]], np.float32)
    for k in range(20):
        where = hidden(masks.box_cutout(WHITE, tf.constant(box), 0.5, [k, 2]))
        ys, xs = np.nonzero(where)
        assert (
            0 < where.sum() <= 10 * 14
            and np.min(ys) >= 5
            and np.max(ys) < 35
            and np.min(xs) >= 13
            and np.max(xs) < 57
        )
    assert not hidden(masks.box_cutout(WHITE, tf.zeros([0, 4]), 0.5, [1, 2])).any()


def test_masks_equal_themselves_in_map():
    def all_of(seed):
        box = tf.constant([[10.0, 20.0, 30.0, 50.0]])
        return (
            masks.random_cutout(WHITE, 5, seed),
            masks.box_cutout(WHITE, box, 0.5, seed),
            masks.grid_mask(WHITE, seed),
        )

    seeds = tf.constant([[k, 4] for k in range(6)])
    for seed, inside in zip(
        seeds,
        tf.data.Dataset.from_tensor_slices(seeds).map(all_of, num_parallel_calls=2),
        strict=True,
    ):
        for found, alone in zip(inside, all_of(seed), strict=True):
            assert np.mean(found != alone) < 1e-3  # the grid's angle may be rounded in another way


def test_grid_mask_hides_squares_in_six_of_ten():
    shares = np.array([hidden(masks.grid_mask(WHITE, [k, 3])).mean() for k in range(60)])
    assert 0.45 < np.mean(shares > 0) < 0.75
    assert 0.1 < shares[shares > 0].mean() < 0.22  # (1 - 0.6) squared is 0.16
    assert shares.max() < 0.4
    np.testing.assert_array_equal(masks.grid_mask(WHITE, [4, 3]), masks.grid_mask(WHITE, [4, 3]))
