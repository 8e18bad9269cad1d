"""Pictures for post-training quantisation, and what the quantisation cost."""

import csv
import itertools
import pathlib

import numpy as np
import tensorflow as tf
from PIL import Image
from tqdm import tqdm

from keras_efficientdet.config import class_ids
from keras_efficientdet.data.records import is_record_file, parse, record_files
from keras_efficientdet.errors import DataError
from keras_efficientdet.evaluation.coco import evaluate
from keras_efficientdet.files import replaced_file
from keras_efficientdet.imaging.pil import IMAGE_SUFFIXES, rgb, upright
from keras_efficientdet.ops import images

LIMIT = 300  # pictures; more change the ranges of activations little


def calibration_pictures(source, config):
    """uint8 pictures [height, width, 3] of the network's size, at most 300.

    Args:
      source: a folder of records or of pictures, or an iterable of pictures: paths, or uint8 [H, W, 3].
    Raises:
      DataError: neither records nor pictures there. ValueError: no picture at all.
    """
    model = config.model
    pictures = (
        _of_path(source, config)
        if isinstance(source, str | pathlib.Path)
        else map(_picture, source)
    )
    found = [
        images.letterbox(picture, model.image_size, model.mean_rgb)[0]
        for picture in tqdm(
            itertools.islice(pictures, LIMIT),
            desc='reading calibration',
            unit=' pictures',
            leave=False,
        )
    ]
    if not found:
        raise ValueError('the calibration set holds no picture')
    return found


def _of_path(path, config):
    """Pictures of records, or of the picture files directly in a folder."""
    there = sorted(pathlib.Path(path).iterdir()) if pathlib.Path(path).is_dir() else None
    if there is None or any(is_record_file(file.name) for file in there):
        return _of_records(record_files(path), config)
    pictures = [file for file in there if file.suffix.lower() in IMAGE_SUFFIXES]
    if not pictures:
        raise DataError(
            f'{path}: neither TFRecord files nor pictures ({", ".join(IMAGE_SUFFIXES)}); give a folder that holds some'
        )
    return map(_picture, pictures)


def _of_records(files, config):
    serialized = tf.data.TFRecordDataset(files)
    for example in serialized.take(LIMIT).map(lambda s: parse(s, class_ids(config.model))):
        yield example['image'].numpy()


def _picture(picture):
    if isinstance(picture, str | pathlib.Path):
        with Image.open(picture) as opened:
            return np.asarray(rgb(upright(opened)))
    return np.asarray(picture)


def quantization_report(functions, data, config, path, against=None):
    """AP of several forms of one detector over one data set, as rows and as a csv file.

    Args:
      functions: {name: what `evaluate` takes}. against: the name of the unquantised one; default: the first.
      data: `dataset(..., training=False)`. path: of the csv file.
    Returns:
      [{'form', 'AP', 'AP50', 'AP75', 'lost AP'}], lost against that one.
    """
    figures = {name: evaluate(function, data, config) for name, function in functions.items()}
    usual = figures[against or next(iter(figures))]['AP']
    rows = [
        {
            'form': name,
            **{k: found[k] for k in ('AP', 'AP50', 'AP75')},
            'lost AP': usual - found['AP'],
        }
        for name, found in figures.items()
    ]
    with replaced_file(path) as working, open(working, 'w', newline='') as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(
            {k: v if isinstance(v, str) else round(v, 4) for k, v in row.items()} for row in rows
        )
    return rows
