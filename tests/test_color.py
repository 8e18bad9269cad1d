"""Colours against Pillow and, where it can be imported, tensorflow-addons, bit for bit."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from keras_efficientdet.data.augment import color


def picture(seed=0, hw=(37, 53), low=20, high=230):
    """Smooth colours and noise; not every level occurs."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(low, high, hw[0] * hw[1] * 3).reshape(3, *hw).transpose(1, 2, 0)
    return np.clip(slope + rng.normal(0, 12, (*hw, 3)), low, high).astype(np.uint8)


PICTURES = {
    'colours': picture(),
    'dark': picture(1, low=3, high=60),
    'flat': np.full((9, 11, 3), 77, np.uint8),
    'one pixel': picture(2, (1, 1)),
    'noise': np.random.default_rng(3).integers(0, 256, (24, 31, 3), np.uint8),
}
FACTORS = (0.0, 0.1, 0.7, 1.0, 1.4, 1.9)
ENHANCED = {
    'brightness': ImageEnhance.Brightness,
    'contrast': ImageEnhance.Contrast,
    'saturation': ImageEnhance.Color,
    'sharpness': ImageEnhance.Sharpness,
}
EQUAL = {
    'autocontrast': (color.autocontrast, ImageOps.autocontrast),
    'equalize': (color.equalize, ImageOps.equalize),
    'invert': (color.invert, ImageOps.invert),
    **{
        f'posterize {n}': (
            lambda p, n=n: color.posterize(p, n),
            lambda p, n=n: ImageOps.posterize(p, n),
        )
        for n in (1, 4, 8)
    },
    **{
        f'solarize {n}': (
            lambda p, n=n: color.solarize(p, n),
            lambda p, n=n: ImageOps.solarize(p, n),
        )
        for n in (0, 128, 256)
    },
}


def far(found, expected):
    return int(np.max(np.abs(np.asarray(found).astype(int) - np.asarray(expected).astype(int))))


@pytest.mark.parametrize('content', PICTURES)
@pytest.mark.parametrize('name', ENHANCED)
def test_factors_are_pillows(name, content):
    image = PICTURES[content]
    for factor in FACTORS:
        found = getattr(color, name)(tf.constant(image), factor)
        assert found.dtype == tf.uint8
        # Sharpness rounds twice where Pillow does not, and the other way round.
        assert far(found, ENHANCED[name](Image.fromarray(image)).enhance(factor)) <= (
            2 if name == 'sharpness' else 1
        )
    assert far(getattr(color, name)(tf.constant(image), 1.0), image) == 0


@pytest.mark.parametrize('content', PICTURES)
@pytest.mark.parametrize('name', EQUAL)
def test_the_others_are_pillows(name, content):
    ours, theirs = EQUAL[name]
    assert (
        far(ours(tf.constant(PICTURES[content])), theirs(Image.fromarray(PICTURES[content]))) <= 1
    )


@pytest.mark.parametrize('name', ['brightness', 'contrast', 'saturation', 'sharpness'])
def test_comparison_notices_another_factor(name):
    image = PICTURES['noise']
    assert (
        far(
            getattr(color, name)(tf.constant(image), 0.6),
            ENHANCED[name](Image.fromarray(image)).enhance(0.7),
        )
        > 3
    )


def test_solarize_add_by_hand():
    image = tf.constant(np.array([0, 100, 127, 128, 255, 120], np.uint8).reshape(1, 2, 3))
    assert color.solarize_add(image, 50).numpy().ravel().tolist() == [50, 150, 177, 128, 255, 170]
    assert color.solarize_add(image, -110).numpy().ravel().tolist() == [0, 0, 17, 128, 255, 10]


def test_hue_turns_red_to_green_and_back():
    red = tf.constant(np.tile(np.array([200, 20, 20], np.uint8), (4, 4, 1)))
    turned = color.hue(red, 1 / 3)
    assert far(turned, np.tile(np.array([20, 200, 20]), (4, 4, 1))) <= 1
    assert far(color.hue(turned, -1 / 3), red) <= 2


def test_jitter_is_stateless_and_grows_with_its_strength():
    image = PICTURES['colours']
    assert far(color.jitter(image, 0.4, [5, 6]), color.jitter(image, 0.4, [5, 6])) == 0
    assert far(color.jitter(image, 0.4, [5, 6]), color.jitter(image, 0.4, [5, 7])) > 5
    assert far(color.jitter(image, 0.0, [5, 6]), image) <= 1
    weak, strong = (
        np.mean(
            [np.abs(color.jitter(image, s, [k, 0]).numpy() - image.astype(int)) for k in range(8)]
        )
        for s in (0.1, 0.4)
    )
    assert strong > 2 * weak > 0


def test_colours_equal_themselves_in_map():
    def all_of(image):
        return (
            *(
                change(image, 0.7)
                for change in (color.brightness, color.contrast, color.saturation, color.sharpness)
            ),
            color.hue(image, 0.1),
            color.jitter(image, 0.4, [5, 6]),
            color.solarize_add(image, 50),
            *(ours(image) for ours, _ in EQUAL.values()),
        )

    image = tf.constant(PICTURES['noise'])
    (inside,) = tf.data.Dataset.from_tensors(image).map(all_of)
    for found, alone in zip(inside, all_of(image), strict=True):
        assert (
            far(found, alone) <= 1 and np.mean(found != alone) < 1e-2
        )  # a product may be rounded in another way


@pytest.mark.parametrize('content', ['colours', 'dark', 'flat', 'noise'])
def test_bit_equal_to_tensorflow_addons(content):
    tfa = pytest.importorskip(
        'tensorflow_addons', reason='tensorflow-addons imports on TensorFlow 2.15 alone'
    )
    image = tf.constant(PICTURES[content])
    assert far(color.equalize(image), tfa.image.equalize(image)) == 0
    for factor in FACTORS:
        assert far(color.sharpness(image, factor), tfa.image.sharpness(image, factor)) == 0
