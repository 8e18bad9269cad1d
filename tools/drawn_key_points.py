"""A data set of key points drawn by code: kites on busy backgrounds, annotated in a csv table.

A kite has a nose, a tail, and a left and a right wing tip, seen from its tail. Colours do not tell
the sides apart, so a training that mirrors images without exchanging left and right fails. Image i
of a seed is the same for any number of images.
"""

import csv
import pathlib

import numpy as np
from drawn_shapes import SIZES, background
from PIL import Image, ImageDraw

NAMES = ('nose', 'left_tip', 'right_tip', 'tail')
LENGTHS = (90.0, 150.0)  # pixels from nose to tail
WIDTH, SHOULDER = 0.35, 0.35  # half the span, and where it is from nose to tail, in lengths
STRIPES = 6  # waves along a side
_FINER = 2  # oversampling of outlines


def draw_data_set(count, seed, folder):
    """Draws `count` PNG images with one kite each into a new folder, beside points.csv.

    Returns:
      path of the table.
    Raises:
      FileExistsError: the folder exists.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    table = folder / 'points.csv'
    with table.open('w', newline='', encoding='utf-8') as file:
        rows = csv.writer(file)
        rows.writerow(('image', 'class', 'x', 'y'))
        for i in range(count):
            image, points = draw_image(np.random.default_rng([seed, i]))
            name = f'{i:05d}.png'
            Image.fromarray(image).save(folder / name)
            rows.writerows((name, kind, f'{x:.2f}', f'{y:.2f}') for kind, (y, x) in points.items())
    return table


def draw_image(rng):
    """(uint8 [H, W, 3], {name: (y, x) in pixels}) of one kite that is inside of its image."""
    size = SIZES[rng.integers(len(SIZES))]
    length, angle = rng.uniform(*LENGTHS), rng.uniform(0, 2 * np.pi)
    margin = 0.6 * length
    centre = rng.uniform(margin, np.array(size) - margin)
    points = kite(centre, length, angle)
    canvas = background(rng, size)
    for side in ('left', 'right'):
        filled = _filled([points['nose'], points[f'{side}_tip'], points['tail']], size)
        colour = _striped(rng, size, centre, length, angle)
        canvas = canvas + filled[..., None] * (colour - canvas)
    noisy = canvas + rng.normal(0, rng.uniform(2, 10), canvas.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), points


def kite(centre, length, angle):
    """{name: (y, x)} of a kite that flies towards `angle`: 0 right, pi / 2 down."""
    ahead = np.array([np.sin(angle), np.cos(angle)])
    right = np.array([ahead[1], -ahead[0]])  # y grows downwards
    nose, tail = centre + length / 2 * ahead, centre - length / 2 * ahead
    shoulder = nose - SHOULDER * length * ahead
    tips = {
        'left_tip': shoulder - WIDTH * length * right,
        'right_tip': shoulder + WIDTH * length * right,
    }
    return {
        name: tuple(point.tolist()) for name, point in {'nose': nose, **tips, 'tail': tail}.items()
    }


def _filled(corners, size):
    """float32 [H, W] in 0..1: how much of each pixel a polygon of (y, x) fills."""
    mask = Image.new('L', (size[1] * _FINER, size[0] * _FINER))
    ImageDraw.Draw(mask).polygon([(x * _FINER, y * _FINER) for y, x in corners], fill=255)
    return np.asarray(mask.reduce(_FINER), np.float32) / 255


def _striped(rng, size, centre, length, angle):
    """Two colours in stripes across the direction of flight, float32 [H, W, 3]."""
    y, x = np.mgrid[: size[0], : size[1]]
    along = ((y - centre[0]) * np.sin(angle) + (x - centre[1]) * np.cos(angle)) / length
    second = np.sin(along * STRIPES * 2 * np.pi)[..., None] > 0
    first, other = rng.uniform(0, 255, (2, 3))
    return np.where(second, first, 255 - other).astype(np.float32)
