"""The mask of an image from what its annotations say: outlines as COCO has them, or a PNG file."""

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from keras_efficientdet.data.source import Photo
from keras_efficientdet.errors import DataError
from keras_efficientdet.imaging.pil import named
from keras_efficientdet.ops.class_masks import IGNORED

ONE_CHANNEL = ('1', 'L', 'P', 'I', 'I;16')  # modes of Pillow


def mask_of(photo: Photo, category_ids: tuple[int, ...]) -> np.ndarray:
    """uint8 [H, W]: 0 background, 1 + the place of the category id in `category_ids`, 255 ignored.

    Raises:
      DataError: more than 254 classes, an outline that cannot be read, or a PNG file with another
        size, several channels, or a value that is no category id. The message names the file.
    """
    if len(category_ids) >= IGNORED:
        raise DataError(
            f'{photo.path}: masks hold at most {IGNORED - 1} classes, found {len(category_ids)}'
        )
    if isinstance(photo.mask, tuple):
        return _painted(photo, category_ids)
    return _numbered(_pixels(photo), photo.mask, category_ids)


def _painted(photo, category_ids):
    """Larger regions first, so that what lies upon them is seen."""
    size = photo.height, photo.width
    regions = [(i, _region(outline, size, photo.path)) for i, outline in photo.mask]
    mask = np.zeros(size, np.uint8)
    for category_id, region in sorted(regions, key=lambda pair: -pair[1].sum()):
        mask[region] = IGNORED if category_id is None else 1 + category_ids.index(category_id)
    return mask


def _region(outline, size, path):
    """bool [H, W] of polygons [[x, y, x, y, ...], ...], or of a run-length encoded mask."""
    try:
        encoded = outline
        if isinstance(outline, list):
            encoded = coco_mask.merge(coco_mask.frPyObjects(outline, *size))
        elif isinstance(outline['counts'], list):
            encoded = coco_mask.frPyObjects(outline, *size)
        region = coco_mask.decode(encoded).astype(bool)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f'{path}: a segmentation is neither polygons [[x, y, x, y, ...], ...] nor a run-length '
            f'encoded mask {{size, counts}} ({error}): {str(outline)[:100]}'
        ) from error
    if region.shape != size:
        raise DataError(
            f'{path}: a segmentation is a mask of (height, width) {region.shape}, and the image '
            f'is {size}'
        )
    return region


def _pixels(photo):
    """The values of a PNG file, int64 [H, W]."""
    with named(photo.mask):
        image = Image.open(photo.mask)
        pixels = np.asarray(image)
    if image.mode not in ONE_CHANNEL:
        raise DataError(
            f'{photo.mask}: a mask needs one channel with the category id of each pixel, found '
            f'{image.mode}; replace its colours by category ids'
        )
    if pixels.shape != (photo.height, photo.width):
        raise DataError(
            f'{photo.mask}: the mask is {image.width}x{image.height} (width x height), but its '
            f'image is {photo.width}x{photo.height}'
        )
    return pixels.astype(np.int64)


def _numbered(pixels, path, category_ids):
    known = {0: 0, IGNORED: IGNORED} | {value: i for i, value in enumerate(category_ids, 1)}
    values, places = np.unique(pixels, return_inverse=True)
    unknown = [int(value) for value in values if value not in known]
    if unknown:
        raise DataError(
            f'{path}: a mask holds category ids ({str(list(category_ids))[:100]}), 0 for '
            f'background and {IGNORED} for ignored; found also {unknown[:10]}'
        )
    table = np.array([known[int(value)] for value in values], np.uint8)
    return table[places].reshape(pixels.shape)
