"""Masks of semantic segmentation as PNG files, beside images or beside another data set."""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from keras_efficientdet.data.formats.common import each
from keras_efficientdet.data.source import Photo, Source
from keras_efficientdet.errors import DataError
from keras_efficientdet.imaging.pil import upright_size
from keras_efficientdet.imaging.sources import find_images


def read_masks(
    image_dir: str | os.PathLike, mask_dir: str | os.PathLike, label_map: Mapping[int, str]
) -> Source:
    """Reads images with a mask each, for `head: segmentation`. There are no boxes.

    Args:
      image_dir: a folder of images.
      mask_dir: a folder with a PNG file of the same name for each: one channel, of which each pixel
        is a category id, 0 (background) or 255 (ignored).
      label_map: {category id: name}, ids 1 to 254.
    Returns:
      Source, in the order of the file names.
    Raises:
      FileNotFoundError: there are no images.
      DataError: an image cannot be read or has no mask, or the label_map has other ids.
    """
    photos = each(_photo, find_images(image_dir))
    return with_masks(Source(photos, dict(label_map), {}), mask_dir)


def with_masks(source: Source, mask_dir: str | os.PathLike) -> Source:
    """Adds masks in PNG files (see `read_masks`) to a data set with boxes, as VOC has them.

    Args:
      source: its category ids are those of the masks.
    Raises:
      DataError: an image has no mask, or ids are not 1 to 254.
    """
    wrong = [i for i in source.label_map if not 0 < i < 255]
    if wrong:
        raise DataError(
            f'{mask_dir}: masks of 8 bits hold category ids from 1 to 254, found {wrong[:10]}'
        )
    folder = pathlib.Path(mask_dir)
    paths = [folder / f'{photo.path.stem}.png' for photo in source.photos]
    _check(paths)
    photos = [
        dataclasses.replace(photo, mask=path)
        for photo, path in zip(source.photos, paths, strict=True)
    ]
    return dataclasses.replace(source, photos=photos)


def _check(paths):
    """Raises DataError for masks that are not there, or that images share: a.jpg and a.png."""
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f'{len(missing)} of {len(paths)} images have no mask: {", ".join(missing[:5])}'
        )
    shared = [str(path) for path, count in collections.Counter(paths).items() if count > 1]
    if shared:
        raise DataError(f'{len(shared)} masks belong to several images: {", ".join(shared[:5])}')


def _photo(path):
    return Photo(path, path.stem, *upright_size(path), np.zeros((0, 4)), (), (), ())
