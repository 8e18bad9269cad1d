"""Pictures for post-training quantisation, and what the quantisation cost."""
import csv
import itertools
import pathlib

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps
from tqdm import tqdm

from keras_efficientdet import images
from keras_efficientdet.config import class_ids
from keras_efficientdet.evaluation import evaluate
from keras_efficientdet.record_writer import rgb
from keras_efficientdet.records import parse, record_files
from keras_efficientdet.writing import replaced_file

LIMIT = 300      # pictures; more change the ranges of activations little


def calibration_pictures(source, config):
    """uint8 pictures [height, width, 3] of the network's size, at most 300.

    Args:
      source: a folder of records, or an iterable of pictures: paths, or uint8 [H, W, 3].
    Raises:
      DataError: no records there. ValueError: no picture at all.
    """
    model = config.model
    pictures = _of_records(source, config) if isinstance(source, str | pathlib.Path) else map(_picture, source)
    found = [images.letterbox(picture, model.image_size, model.mean_rgb)[0] for picture in
             tqdm(itertools.islice(pictures, LIMIT), desc='reading calibration', unit=' pictures', leave=False)]
    if not found:
        raise ValueError('the calibration set holds no picture')
    return found


def _of_records(folder, config):
    serialized = tf.data.TFRecordDataset(record_files(folder))
    for example in serialized.take(LIMIT).map(lambda s: parse(s, class_ids(config.model))):
        yield example['image'].numpy()


def _picture(picture):
    if isinstance(picture, str | pathlib.Path):
        with Image.open(picture) as opened:
            return np.asarray(rgb(ImageOps.exif_transpose(opened)))
    return np.asarray(picture)


def quantization_report(functions, data, config, path):
    """AP of several forms of one detector over one data set, as rows and as a csv file.

    Args:
      functions: {name: what `evaluate` takes}, the unquantised one first.
      data: `dataset(..., training=False)`. path: of the csv file.
    Returns:
      [{'form', 'AP', 'AP50', 'AP75', 'lost AP'}], lost against the first.
    """
    rows = []
    for name, function in functions.items():
        figures = evaluate(function, data, config)
        first = rows[0]['AP'] if rows else figures['AP']
        rows.append({'form': name, **{k: figures[k] for k in ('AP', 'AP50', 'AP75')}, 'lost AP': first - figures['AP']})
    with replaced_file(path) as working, open(working, 'w', newline='') as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({k: v if isinstance(v, str) else round(v, 4) for k, v in row.items()} for row in rows)
    return rows
