"""A data set drawn by code: shapes on busy backgrounds, with boxes and masks in COCO format.

The classes are discs, squares, triangles and stars. Each has an outline and a pattern of two
colours; colours, size and rotation are independent of the class. Image i of a seed is the same for
any number of images.
"""

import json
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from pycocotools import mask as coco_mask

CATEGORIES = {
    3: 'disc',
    7: 'square',
    12: 'triangle',
    20: 'star',
}  # ids with gaps, as COCO's own are
SHAPES = {
    'disc': (60, 1.0),
    'square': (4, 1.0),
    'triangle': (3, 1.0),
    'star': (10, 0.45),
}  # corners, radius of every other
SIZES = ((320, 320), (300, 400), (400, 300), (360, 360), (256, 384))  # (height, width)
RADII = (18.0, 64.0)  # pixels from centre to corner: boxes of 25 to 128 pixels
FEWEST_OBJECTS, MOST_OBJECTS = 3, 12
EMPTY_SHARE = 0.04  # of the images
LEAST_VISIBLE = 0.5  # of an object's pixels, for it to be labelled
# Smallest distance in RGB of a shape from what is behind it, and of its two colours.
CONTRAST = 110.0
_FINER = 2  # oversampling of outlines


def draw_data_set(count, seed, folder):
    """Draws `count` images, PNG and JPEG in turn, into a new folder, and writes a COCO file.

    Returns:
      path of the json file, instances.json in the folder.
    Raises:
      FileExistsError: the folder exists.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    images, annotations = [], []
    for i in range(count):
        image, objects = draw_image(np.random.default_rng([seed, i]))
        name = f'{i:05d}.{("png", "jpg")[i % 2]}'
        image_id = 1000 + 7 * i  # with gaps, as ids of real data sets have
        Image.fromarray(image).save(folder / name, quality=92)
        height, width = image.shape[:2]
        images.append({'id': image_id, 'file_name': name, 'height': height, 'width': width})
        annotations += [_annotation(image_id, *labelled) for labelled in objects]
    content = {
        'images': images,
        'annotations': [{**a, 'id': n} for n, a in enumerate(annotations, 1)],
        'categories': [{'id': i, 'name': name} for i, name in CATEGORIES.items()],
    }
    (folder / 'instances.json').write_text(json.dumps(content), encoding='utf-8')
    return folder / 'instances.json'


def _annotation(image_id, category, mask):
    return {
        'image_id': image_id,
        'category_id': category,
        'bbox': box_of(mask),
        'area': int(mask.sum()),
        'iscrowd': 0,
        'segmentation': _run_lengths(mask),
    }


def _run_lengths(mask):
    """A mask as COCO's annotations have it."""
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {**encoded, 'counts': encoded['counts'].decode('ascii')}


def draw_image(rng):
    """An image and its objects.

    Returns:
      (uint8 [H, W, 3], [(category id, bool [H, W] of the visible pixels)] of the objects to label)
    """
    size = SIZES[rng.integers(len(SIZES))]
    canvas = background(rng, size)
    number = 0 if rng.random() < EMPTY_SHARE else rng.integers(FEWEST_OBJECTS, MOST_OBJECTS + 1)
    layers = []
    for _ in range(number):
        category = int(rng.choice(list(CATEGORIES)))
        shape, place = CATEGORIES[category], _placed(rng, size)
        filled = outline(shape, *place, size)
        canvas = paint(rng, canvas, filled, pattern(shape, *place, size))
        layers.append((category, filled >= 0.5))
    noise = rng.normal(0, rng.uniform(2, 12), canvas.shape)
    return np.clip(canvas + noise, 0, 255).astype(np.uint8), visible(layers)


def outline(shape, centre, radius, angle, size):
    """float32 [H, W] in 0..1: how much of each pixel a shape fills.

    centre (y, x) and radius are in pixels, angle in radians.
    """
    corners, inner = SHAPES[shape]
    turns = angle + 2 * np.pi * np.arange(corners) / corners
    radii = radius * np.where(np.arange(corners) % 2, inner, 1.0)
    points = _FINER * np.stack(
        [centre[1] + radii * np.cos(turns), centre[0] + radii * np.sin(turns)], -1
    )  # [corners, 2]
    mask = Image.new('L', (size[1] * _FINER, size[0] * _FINER))
    ImageDraw.Draw(mask).polygon([tuple(p) for p in points.tolist()], fill=255)
    return np.asarray(mask.reduce(_FINER), np.float32) / 255


def pattern(shape, centre, radius, angle, size):
    """bool [H, W]: where a shape has its second colour.

    A disc has rings, a square checks, a triangle stripes, and a star none. The pattern turns with
    the shape.
    """
    y, x = (np.mgrid[: size[0], : size[1]] - np.reshape(centre, (2, 1, 1))) / radius
    across = y * np.cos(angle) - x * np.sin(angle)
    along = y * np.sin(angle) + x * np.cos(angle)
    waves = {
        'disc': np.cos(np.hypot(y, x) * 3 * np.pi),
        'square': np.sin(across * 6) * np.sin(along * 6),
        'triangle': np.sin(along * 12),
        'star': np.ones(size),
    }
    return waves[shape] < 0


def paint(rng, canvas, filled, second):
    """Canvas float32 [H, W, 3] with a shaded shape over it, whose first colour stands out."""
    behind = np.tensordot(filled, canvas, 2) / filled.sum()  # [3]
    color = _distinct_color(rng, behind)
    colors = np.where(second[..., None], _distinct_color(rng, color), color)
    shade = colors + rng.uniform(-40, 40, 3) * _ramp(rng, filled.shape)[..., None]
    return canvas + filled[..., None] * (shade - canvas)


def visible(layers):
    """What later layers leave visible of [(category, mask bool [H, W])].

    Objects that are hidden for the most part are left out.
    """
    kept, covered = [], False
    for category, mask in reversed(layers):
        seen = mask & ~np.asarray(covered)
        if seen.sum() >= LEAST_VISIBLE * mask.sum():
            kept.append((category, seen))
        covered = covered | mask
    return kept[::-1]


def box_of(mask):
    """[x, y, width, height] in pixels, tight around the true pixels of a mask [H, W]."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [
        int(columns[0]),
        int(rows[0]),
        int(columns[-1] - columns[0] + 1),
        int(rows[-1] - rows[0] + 1),
    ]


def background(rng, size):
    """float32 [H, W, 3] in 0..255: a gradient with soft blotches, dots and strokes."""
    start = _color(rng)
    end = _color(rng)
    image = Image.fromarray((start + (end - start) * _ramp(rng, size)[..., None]).astype(np.uint8))
    _blotches(rng, ImageDraw.Draw(image), size)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(6, 14)))
    pen = ImageDraw.Draw(image)
    _dots(rng, pen, size)
    _strokes(rng, pen, size)
    return np.asarray(image, np.float32)


def _placed(rng, size):
    """(centre (y, x), radius, angle) of a shape that lies inside the image.

    The radius is uniform in its logarithm, so small shapes are as frequent as large ones.
    """
    radius = float(np.exp(rng.uniform(*np.log(RADII))))
    return rng.uniform(radius + 1, np.array(size) - radius - 1), radius, rng.uniform(0, 2 * np.pi)


def _distinct_color(rng, other):
    color = _color(rng)
    while np.linalg.norm(color - other) < CONTRAST:
        color = _color(rng)
    return color


def _color(rng):
    return rng.uniform(0, 255, 3)


def _ink(rng):
    return tuple(int(c) for c in _color(rng))


def _ramp(rng, size):
    """float64 [H, W] that goes from 0 to 1 in a random direction."""
    y, x = np.mgrid[: size[0], : size[1]]
    angle = rng.uniform(0, 2 * np.pi)
    along = y * np.sin(angle) + x * np.cos(angle)
    return (along - along.min()) / np.ptp(along)


def _blotches(rng, pen, size):
    for _ in range(rng.integers(0, 12)):
        y, x = rng.uniform(0, size)
        half_y, half_x = rng.uniform(8, 60, 2)
        pen.ellipse((x - half_x, y - half_y, x + half_x, y + half_y), fill=_ink(rng))


def _dots(rng, pen, size):
    for _ in range(rng.integers(0, 60)):
        y, x = rng.uniform(0, size)
        radius = rng.uniform(0.5, 4)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_ink(rng))


def _strokes(rng, pen, size):
    for _ in range(rng.integers(0, 10)):
        corners = rng.uniform(0, size[::-1], (rng.integers(2, 5), 2))
        pen.line(
            [tuple(p) for p in corners.tolist()],
            fill=_ink(rng),
            width=int(rng.integers(1, 6)),
            joint='curve',
        )
