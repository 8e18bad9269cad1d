"""Augmentation against the official one with fixed draws, and painted boxes found again."""

import numpy as np
import official
import pytest
import tensorflow as tf

from keras_efficientdet.data import augment
from keras_efficientdet.ops import images

TRAIN = 'func/preprocess_train_a.npz'
MEAN, STD = (0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255)
# 'rect_target' sets the official target_size, which this library does not have.
CASES = ('up', 'down', 'unit', 'img1_crop')


def moved(boxes, result):
    """(image, boxes after it) of the result of a geometric operation."""
    image, transform = result
    return image, augment.move({'boxes': boxes}, transform)['boxes']


def jitter(case, image, **change):
    draws = [case['uniform_draws'][k] for k in ('scale', 'offset_y', 'offset_x')]
    options = {
        'size': tuple(case['output_size']),
        'jitter_min': case['scale_min'],
        'jitter_max': case['scale_max'],
        'draws': tf.constant(draws),
    }
    return augment.scale_jitter(image, **{**options, **change})


def cropped(boxes, image_hw, scaled, offset, size):
    transform = augment.scaled_and_cropped(image_hw, tf.constant(scaled), tf.constant(offset), size)
    return augment.move({'boxes': boxes}, transform)['boxes']


def inputs(name, arrays, case):
    """The normalised image of a case, which is drawn or the photo, and its boxes."""
    picture = arrays[f'{name}/in'] if f'{name}/in' in arrays else official.photo()
    boxes = arrays[f'{name}/boxes_in'] * np.tile(picture.shape[:2], 2).astype(np.float32)
    return images.normalize(picture, MEAN, STD), tf.constant(boxes)


@pytest.mark.parametrize('name', CASES)
def test_scale_jitter_is_the_official_one(name, golden):
    arrays, case = golden(TRAIN), official.index(TRAIN)['cases'][name]
    before, boxes_before = inputs(name, arrays, case)
    jittered = jitter(case, before)
    image, boxes = moved(boxes_before, jittered)
    kept = augment.with_area(boxes).numpy()
    np.testing.assert_allclose(boxes[kept], arrays[f'{name}/boxes_out'], atol=1e-3)
    assert 0 < kept.sum() < 5
    for axis, side in enumerate(before.shape[:2]):
        scaled = float(jittered[1].matrix[axis, axis]) * side  # rounded down to whole pixels
        assert -1e-3 < side / case['scale_to_original'] - scaled < 1 + 1e-3
    step = case.get('row_col_step', 1)
    np.testing.assert_allclose(image[::step, ::step], arrays[f'{name}/out'], atol=2e-4)


def test_golden_notices_swapped_offsets(golden):
    arrays, case = golden(TRAIN), official.index(TRAIN)['cases']['up']
    before, boxes_before = inputs('up', arrays, case)
    swapped = jitter(case, before, draws=tf.constant([0.9, 0.7, 0.3]))
    image, boxes = moved(boxes_before, swapped)
    assert np.max(np.abs(image - arrays['up/out'])) > 0.5
    assert np.max(np.abs(boxes[augment.with_area(boxes).numpy()] - arrays['up/boxes_out'])) > 5


def test_cut_is_the_official_one(golden):
    case = golden('func/flip_clip.npz')
    found = cropped(case['clip_in'], (40, 64), (40, 64), (0, 0), (40, 64))
    kept = augment.with_area(found).numpy()
    np.testing.assert_allclose(found[kept], case['clip_out'][kept], atol=1e-6)
    assert kept.tolist() == [True, True, True, False]
    assert augment.with_area(case['clip_out']).numpy().tolist() == kept.tolist()


def test_flip_is_the_official_one(golden):
    case = golden('func/flip_clip.npz')
    height, width = case['flip_image_in'].shape[:2]
    unit = np.array([height, width, height, width], np.float32)
    flipped = augment.random_flip(tf.constant(case['flip_image_in']), tf.constant(0.7))
    image, boxes = moved(tf.constant(case['flip_in'] * unit), flipped)
    np.testing.assert_array_equal(image, case['flip_image_out'])
    np.testing.assert_allclose(boxes / unit, case['flip_out'], atol=1e-6)


@pytest.mark.parametrize(
    ('draw', 'flips'), [(0.0, False), (0.5, False), (0.5001, True), (0.999, True)]
)
def test_flip_only_above_one_half(draw, flips):
    image, boxes = tf.reshape(tf.range(24.0), [2, 4, 3]), tf.constant([[0.0, 0.0, 1.0, 1.0]])
    flipped, after = moved(boxes, augment.random_flip(image, tf.constant(draw)))
    np.testing.assert_array_equal(flipped, image[:, ::-1] if flips else image)
    np.testing.assert_array_equal(after, [[0.0, 3.0, 1.0, 4.0]] if flips else boxes)


def test_flip_twice_is_identity():
    rng = np.random.default_rng(0)
    image = tf.constant(rng.random((7, 11, 3)), tf.float32)
    corners = np.sort(rng.random((5, 2, 2)) * 7, 1)  # [N, (min, max), (y, x)]
    boxes = tf.constant(corners.reshape(5, 4), tf.float32)
    flipped, there = moved(boxes, augment.random_flip(image, 0.9))
    again, back = moved(there, augment.random_flip(flipped, 0.9))
    np.testing.assert_array_equal(again, image)
    np.testing.assert_allclose(back, boxes, atol=1e-5)


def painted(seed):
    """A black picture with one white rectangle, and its box."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(60, 200, 2)
    top, left = int(rng.integers(0, height - 30)), int(rng.integers(0, width - 30))
    box = np.array(
        [top, left, rng.integers(top + 20, height + 1), rng.integers(left + 20, width + 1)],
        np.float32,
    )
    image = np.zeros((height, width, 3), np.float32)
    image[top : int(box[2]), left : int(box[3])] = 1.0
    return image, box


def found_box(image):
    ys, xs = np.nonzero(np.asarray(image)[..., 0] > 0.5)
    return np.array([ys.min(), xs.min(), ys.max() + 1, xs.max() + 1])


@pytest.mark.parametrize('size', [(64, 64), (96, 160), (160, 96)])
def test_a_painted_box_is_found_where_its_box_says(size):
    rng, seen, cut = np.random.default_rng(0), 0, 0
    for seed in range(40):
        image, box = painted(seed)
        draws = tf.constant(rng.random(4), tf.float32)
        flip = augment.random_flip(tf.constant(image), draws[0])
        flipped, boxes = moved(tf.constant(box[None]), flip)
        np.testing.assert_array_equal(found_box(flipped), boxes[0])
        flipped, boxes = moved(boxes, augment.random_vertical_flip(flipped, draws[1]))
        np.testing.assert_array_equal(found_box(flipped), boxes[0])
        jittered = augment.scale_jitter(flipped, size, 0.3, 2.0, draws[1:])
        shown, boxes = moved(boxes, jittered)
        scale = float(tf.reduce_max(jittered[1].matrix[:, :2]))
        sides = boxes[0, 2:] - boxes[0, :2]
        if np.min(sides) < 3:
            continue
        # Half a pixel of the blurred edge on each side, one for the official cut to size - 1.
        np.testing.assert_allclose(found_box(shown), boxes[0], atol=0.5 * max(1.0, scale) + 1.0)
        seen, cut = (
            seen + 1,
            cut + int(np.min(sides) < np.min(box[2:] - box[:2]) * scale - 2),
        )
    assert seen > 25 and cut > 0


def test_boxes_outside_the_crop_have_no_area():
    boxes = tf.constant(
        [
            [0.0, 0.0, 10.0, 10.0],
            [20.0, 30.0, 40.0, 60.0],
            [0.0, 0.0, 5.0, 200.0],
            [90.0, 90.0, 100.0, 100.0],
        ]
    )
    far = cropped(boxes, (100, 100), (200, 200), (100, 0), (64, 64))
    assert augment.with_area(far).numpy().tolist() == [False, False, False, False]
    near = cropped(boxes, (100, 100), (200, 200), (16, 8), (64, 64))
    np.testing.assert_array_equal(
        near, [[0, 0, 4, 12], [24, 52, 63, 63], [0, 0, 0, 0], [0, 0, 0, 0]]
    )
    assert augment.with_area(near).numpy().tolist() == [True, True, False, False]


def test_no_boxes():
    jittered = augment.scale_jitter(
        tf.zeros([50, 40, 3]), (32, 32), 0.1, 2.0, tf.constant([0.5] * 3)
    )
    image, boxes = moved(tf.zeros([0, 4]), jittered)
    assert image.shape == (32, 32, 3) and boxes.shape == (0, 4)
    assert augment.with_area(boxes).shape == (0,)


@pytest.mark.parametrize('hw', [(300, 10), (10, 300)])
def test_a_thin_picture_at_the_smallest_scale(hw):
    jittered = augment.scale_jitter(tf.ones([*hw, 3]), (64, 64), 0.1, 2.0, tf.zeros([3]))
    image, boxes = moved(tf.constant([[0.0, 0.0, *hw]], tf.float32), jittered)
    assert float(tf.reduce_sum(image)) == 6 * 3
    assert augment.with_area(boxes).numpy().tolist() == [True]


def test_alone_is_inside_map():
    image, box = painted(3)
    draws = np.random.default_rng(5).random((6, 4)).astype(np.float32)

    def both(draw):
        flip = augment.random_flip(tf.constant(image), draw[0])
        flipped, boxes = moved(tf.constant(box[None]), flip)
        flipped, boxes = moved(boxes, augment.random_vertical_flip(flipped, draw[1]))
        jittered = augment.scale_jitter(flipped, (64, 48), 0.1, 2.0, draw[1:])
        return *moved(boxes, jittered), jittered[1].matrix

    mapped = list(tf.data.Dataset.from_tensor_slices(draws).map(both, num_parallel_calls=2))
    for draw, outputs in zip(draws, mapped, strict=True):
        for inside, alone in zip(outputs, both(tf.constant(draw)), strict=True):
            np.testing.assert_allclose(inside, alone, atol=1e-5)
    assert len({float(matrix[0, 0]) for _, _, matrix in mapped}) == 6
