"""Masks follow every augmentation: of a painted image, each pixel's colour tells its class."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageDraw

from keras_efficientdet import load_config
from keras_efficientdet.data import augment
from keras_efficientdet.data.augment import affine, policies
from keras_efficientdet.data.example import augmented_example, plain_example

COLORS = np.array([(10, 10, 10), (240, 20, 20), (20, 240, 20), (20, 20, 240)], np.float32)
RAW = {'mean_rgb': [0, 0, 0], 'stddev_rgb': [1, 1, 1], 'image_size': [96, 128], 'num_classes': 3}


def painted(seed, size=(90, 140)):
    """An example of three overlapping shapes, whose image shows each class in its own colour."""
    rng = np.random.default_rng(seed)
    canvas = Image.new('L', size[::-1])
    boxes = []
    for k in (1, 2, 3):
        y, x = rng.integers(0, (size[0] - 50, size[1] - 60))
        boxes.append([y, x, y + 45, x + 55])
        ImageDraw.Draw(canvas).ellipse((x, y, x + 55, y + 45), fill=k)
    mask = np.asarray(canvas)
    return {
        'image': tf.constant(COLORS[mask].astype(np.uint8)),
        'mask': tf.constant(mask[..., None]),
        'boxes': tf.constant(np.float32(boxes)),
        'classes': tf.constant([0, 1, 2]),
        'crowd': tf.constant([False] * 3),
    }


def agreement(example):
    """(share of pixels whose colour is that of their class, number of pixels with a class)

    Only pixels whose neighbours have their class count: others are mixed where images are resized.
    """
    image, mask = np.float32(example['image']), example['mask'].numpy()[..., 0]
    assert image.shape[:2] == mask.shape
    same = np.ones(mask.shape, bool)
    for shift in ((0, 1), (1, 0), (0, -1), (-1, 0), (2, 0), (-2, 0), (0, 2), (0, -2)):
        same &= np.roll(mask, shift, (0, 1)) == mask
    same &= mask != 255
    nearest = np.argmin(np.sum((image[..., None, :] - COLORS) ** 2, -1), -1)
    return np.mean(nearest[same] == mask[same]), np.sum(same & (mask > 0))


OPERATIONS = {
    'flip': lambda image: augment.random_flip(image, tf.constant(0.9)),
    'no flip': lambda image: augment.random_flip(image, tf.constant(0.1)),
    'vertical flip': lambda image: augment.random_vertical_flip(image, tf.constant(0.9)),
    'jitter': lambda image: augment.scale_jitter(
        image, (96, 128), 0.5, 2.0, tf.constant([0.9, 0.5, 0.2])
    ),
    'smaller': lambda image: augment.scale_jitter(
        image, (96, 128), 0.5, 2.0, tf.constant([0.1, 0.5, 0.2])
    ),
    'rotation': lambda image: affine.rotate(image, 20.0),
    'shear': lambda image: affine.shear_x(image, 0.2),
    'shear down': lambda image: affine.shear_y(image, -0.2),
    'shift': lambda image: affine.translate_y(image, 17.0),
    'shift across': lambda image: affine.translate_x(image, -13.0),
}


@pytest.mark.parametrize('name', OPERATIONS)
def test_every_operation(name):
    example = painted(0)
    found, pixels = agreement(augment.moved(example, *OPERATIONS[name](example['image'])))
    assert found > 0.995 and pixels > 500


def test_the_test_notices_a_mask_that_stays():
    example = painted(0)
    image, transform = OPERATIONS['shift'](example['image'])
    moved = augment.moved(example, image, transform)
    assert agreement({**moved, 'mask': example['mask']})[0] < 0.95


@pytest.mark.parametrize('name', ['mosaic', 'mixup'])
def test_mixed_images(name):
    examples = [painted(seed, (70 + 10 * seed, 120 - 5 * seed)) for seed in range(4)]
    if name == 'mosaic':
        mixed = augment.mix(examples, (96, 128), 1.0, 0.0, tf.constant([1, 2]))
    else:
        # A share far from one half: the blended colours are nearly those of the one image.
        mixed = augment.mix(examples, (96, 128), 0.0, 1.0, tf.constant([0, 11]))
    found, pixels = agreement(mixed)
    assert found > (0.995 if name == 'mosaic' else 0.8) and pixels > 500


@pytest.mark.parametrize('policy', [*policies.POLICIES, 'randaug'])
def test_policies_move_masks_as_they_move_boxes(policy):
    """Their colours change, so the mask is held against the boxes: each class stays in its own."""
    outside = total = 0
    for seed in range(12):
        example = augment.distort(painted(seed), policy, tf.constant([seed, 5]))
        mask = example['mask'].numpy()[..., 0]
        for k, box in enumerate(example['boxes'].numpy(), 1):
            places = np.argwhere(mask == k) + 0.5
            out = np.any((places < box[:2] - 1) | (places > box[2:] + 1), 1)
            outside, total = outside + out.sum(), total + len(places)
    assert total > 10000 and outside < 0.002 * total


@pytest.mark.parametrize('seed', range(6))
def test_the_whole_way_into_training(seed):
    geometry = {
        'input_rand_vflip': True,
        'mosaic_prob': 0.5,
        'jitter_min': 0.5,
        'jitter_max': 2.0,
        'head': 'segmentation',
    }
    config = load_config('efficientdet-lite0', [RAW, geometry])
    examples = tuple(painted(4 * seed + i) for i in range(4))
    example = augmented_example(examples, tf.constant(seed, tf.int64), config)
    assert example['mask'].shape == (96, 128, 1)
    found, pixels = agreement(example)
    assert found > 0.99 and pixels > 300


def test_the_whole_way_into_validation():
    example, _ = plain_example(painted(1, (200, 150)), load_config('efficientdet-lite0', RAW))
    found, pixels = agreement(example)
    assert found > 0.995 and pixels > 500
    padding = np.mean(example['mask'].numpy() == 255)
    assert padding == pytest.approx(1 - 72 / 128)


def test_without_masks_mixing_is_as_before():
    examples = [painted(seed) for seed in range(4)]
    plain = [{k: v for k, v in e.items() if k != 'mask'} for e in examples]
    seed = tf.constant([3, 4])
    with_masks = augment.mix(examples, (96, 128), 1.0, 1.0, seed)
    without = augment.mix(plain, (96, 128), 1.0, 1.0, seed)
    assert 'mask' not in without
    for name, value in without.items():
        np.testing.assert_array_equal(value, with_masks[name])
