"""Small data sets drawn by code: grey images with filled rectangles, and their COCO file."""

import json

import numpy as np
from PIL import Image

from keras_efficientdet import read_coco, write_records

LABELS = {1: 'cat', 18: 'dog', 400: 'van'}
_COLORS = {1: (220, 40, 40), 18: (40, 200, 60), 400: (50, 70, 230)}


def box(x, y, width, height, category=1, **more):
    """A COCO annotation without the ids."""
    return {
        'bbox': [x, y, width, height],
        'category_id': category,
        'area': width * height,
        'iscrowd': 0,
        **more,
    }


def picture(height, width, annotations):
    """uint8 [height, width, 3]: grey, each box filled with the colour of its class."""
    image = np.full((height, width, 3), 128, np.uint8)
    for a in annotations:
        x, y, w, h = (round(v) for v in a['bbox'])
        image[max(0, y) : max(0, y + h), max(0, x) : max(0, x + w)] = _COLORS.get(
            a['category_id'], (255, 255, 255)
        )
    return image


def noisy(image, strength, seed):
    """`image` with coarse and fine noise.

    Batch norm of values that hardly vary would divide rounding errors by nearly nothing.
    """
    draw, (height, width, _) = np.random.default_rng(seed), image.shape
    coarse = np.kron(
        draw.normal(0.0, strength, (-(-height // 16), -(-width // 16), 3)), np.ones((16, 16, 1))
    )[:height, :width]
    return np.clip(image + coarse + draw.normal(0.0, strength / 2, image.shape), 0, 255).astype(
        np.uint8
    )


def write_coco(folder, photos, labels=None, noise=0.0):
    """Writes photos [(height, width, annotations)] as PNG.

    Returns (annotation file, folder of the images).
    """
    (folder / 'images').mkdir(parents=True, exist_ok=True)
    content = {
        'images': [],
        'annotations': [],
        'categories': [{'id': i, 'name': n} for i, n in (labels or LABELS).items()],
    }
    for i, (height, width, annotations) in enumerate(photos, 1):
        Image.fromarray(noisy(picture(height, width, annotations), noise, i)).save(
            folder / 'images' / f'{i}.png'
        )
        content['images'].append(
            {'id': i, 'file_name': f'{i}.png', 'height': height, 'width': width}
        )
        for a in annotations:
            content['annotations'].append(
                {'id': len(content['annotations']) + 1, 'image_id': i, **a}
            )
    (folder / 'instances.json').write_text(json.dumps(content))
    return folder / 'instances.json', folder / 'images'


def records(folder, photos, labels=None, noise=0.0):
    """The folder of TFRecords of such photos."""
    write_records(
        read_coco(*write_coco(folder, photos, labels, noise)), folder / 'records', progress=False
    )
    return folder / 'records'


def three_objects(i):
    """The i-th of eight images of 100 x 120 with a box of each class, for `records`."""
    boxes = [box(5 + 4 * i, 10, 40, 45, 1), box(70, 50 - 3 * i, 35, 30, 18)]
    return (100, 120, [*boxes, box(20, 62, 30, 33, 400)])
