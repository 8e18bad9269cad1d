"""Mosaic and mixup: painted boxes found again, partners without decoding, no example lost."""

import numpy as np
import tensorflow as tf

from keras_efficientdet.data.augment import mixing

COLORS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))


def example(k, hw=(80, 100), box=(20, 30, 60, 70)):
    """Black, with one box in the colour of its class k."""
    image = np.zeros((*hw, 3), np.uint8)
    image[box[0] : box[2], box[1] : box[3]] = COLORS[k]
    return {
        'image': tf.constant(image),
        'boxes': tf.constant([box], tf.float32),
        'classes': tf.constant([k]),
        'crowd': tf.constant([k == 3]),
    }


FOUR = (
    example(0),
    example(1, (60, 140), (5, 50, 55, 110)),
    example(2, (150, 70), (40, 10, 120, 60)),
    example(3, (64, 64)),
)
mosaic = tf.function(lambda seed: mixing.mosaic(FOUR, (120, 160), seed))


def found_box(image, color):
    ys, xs = np.nonzero(np.all(np.abs(np.asarray(image).astype(int) - color) < 100, -1))
    return np.array([ys.min(), xs.min(), ys.max() + 1, xs.max() + 1])


def test_painted_boxes_are_found_in_a_mosaic():
    seen = 0
    for seed in range(30):
        mixed = mosaic(tf.constant([seed, 2]))
        image, boxes = mixed['image'].numpy(), mixed['boxes'].numpy()
        assert image.shape == (120, 160, 3) and image.dtype == np.uint8
        assert (
            np.all(boxes >= 0)
            and np.all(boxes[:, 2:] <= [120, 160])
            and len(boxes) == len(mixed['classes'])
        )
        np.testing.assert_array_equal(mixed['crowd'], mixed['classes'].numpy() == 3)
        for k, box in zip(mixed['classes'].numpy(), boxes, strict=True):
            if np.min(box[2:] - box[:2]) > 4:
                np.testing.assert_allclose(found_box(image, COLORS[k]), box, atol=2)
                seen += 1
    assert seen > 80


def test_a_mosaic_leaves_no_gap():
    white = {**example(0), 'image': tf.fill([33, 71, 3], tf.constant(255, tf.uint8))}
    for seed in range(5):
        assert np.all(mixing.mosaic((white,) * 4, (64, 48), tf.constant([seed, 2]))['image'] == 255)


def test_slivers_of_boxes_are_dropped():
    edge = {
        **example(0, (80, 80)),
        'boxes': tf.constant([[0.0, 0.0, 80.0, 80.0], [0.0, 0.0, 0.0, 80.0]]),
        'classes': tf.constant([0, 1]),
        'crowd': tf.constant([False, False]),
    }
    for seed in range(5):
        assert set(
            mixing.mosaic((edge,) * 4, (64, 64), tf.constant([seed, 2]))['classes'].numpy()
        ) == {0}
    none = {
        **example(0),
        'boxes': tf.zeros([0, 4]),
        'classes': tf.zeros([0], tf.int32),
        'crowd': tf.zeros([0], tf.bool),
    }
    assert mixing.mosaic((none,) * 4, (64, 64), tf.constant([1, 2]))['boxes'].shape == (0, 4)


def test_mixup_blends_and_keeps_all_boxes():
    first, second = FOUR[0], FOUR[2]
    shares = []
    for seed in range(20):
        mixed = mixing.mixup(first, second, tf.constant([seed, 3]))
        image = mixed['image'].numpy().astype(float)
        assert image.shape == (150, 100, 3)
        np.testing.assert_array_equal(
            mixed['boxes'], np.concatenate([first['boxes'], second['boxes']])
        )
        assert mixed['classes'].numpy().tolist() == [0, 2]
        share = image[30, 65, 0] / 255  # inside the first box alone
        np.testing.assert_allclose(image[100, 40], [0, 0, 255 * (1 - share)], atol=1.01)
        shares.append(share)
    assert 0.3 < np.mean(shares) < 0.7 and np.std(shares) > 0.1


def test_mixes_equal_themselves_in_map():
    def both(seed):
        return mixing.mosaic(FOUR, (64, 80), seed), mixing.mixup(FOUR[0], FOUR[2], seed)

    seed = tf.constant([4, 2])
    (inside,) = tf.data.Dataset.from_tensors(seed).map(both)
    for found, alone in zip(inside, both(seed), strict=True):
        assert np.max(np.abs(found['image'].numpy().astype(int) - alone['image'].numpy())) <= 1
        np.testing.assert_allclose(found['boxes'], alone['boxes'], atol=1e-4)
        for key in ('classes', 'crowd'):
            np.testing.assert_array_equal(found[key], alone[key])


def numbered(count):
    """A data set of examples whose class is their number, and how often one was made."""
    made = tf.Variable(0)

    def make(k):
        made.assign_add(1)
        return {
            'image': tf.fill([4 + k, 6, 3], tf.cast(k, tf.uint8)),
            'boxes': tf.zeros([k, 4]),
            'classes': tf.fill([k], k),
            'crowd': tf.zeros([k], tf.bool),
            'id': tf.cast(k, tf.int64),
        }

    return tf.data.Dataset.range(count, output_type=tf.int32).map(make), made


def test_partners_are_the_three_before_and_nothing_is_made_twice():
    data, made = numbered(7)
    rows = [[int(e['image'].shape[0]) - 4 for e in four] for four in mixing.with_partners(data)]
    assert rows == [
        [0, -4, -4, -4],
        [1, 0, -4, -4],
        [2, 1, 0, -4],
        [3, 2, 1, 0],
        [4, 3, 2, 1],
        [5, 4, 3, 2],
        [6, 5, 4, 3],
    ]
    assert int(made) == 7


def test_mix_by_probability_and_by_seed():
    incomplete = (FOUR[0], FOUR[1], FOUR[2], {**FOUR[3], 'image': tf.zeros([0, 0, 3], tf.uint8)})
    plain = mixing.mix(incomplete, (64, 64), 1.0, 1.0, tf.constant([1, 1]))
    np.testing.assert_array_equal(plain['image'], FOUR[0]['image'])
    run = tf.function(lambda seed: mixing.mix(FOUR, (64, 48), 0.5, 0.3, seed))
    shapes = [run(tf.constant([k, 1]))['image'].shape for k in range(40)]
    mosaics = sum(shape in ((64, 48, 3), (64, 140, 3)) for shape in shapes)
    assert 10 < mosaics < 30
    assert (
        sum(shape == (80, 100, 3) for shape in shapes) > 3
        and sum(140 in shape for shape in shapes) > 3
    )
    again, once = run(tf.constant([3, 1])), run(tf.constant([3, 1]))
    np.testing.assert_array_equal(again['image'], once['image'])
