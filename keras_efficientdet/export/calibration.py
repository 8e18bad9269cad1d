"""Images for post-training quantisation, and the AP that the quantisation cost."""

import csv
import itertools
import os
import pathlib
import typing
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import tensorflow as tf
from PIL import Image
from tqdm import tqdm

from keras_efficientdet.config import Config, class_ids
from keras_efficientdet.data.records import is_record_file, parse, record_files
from keras_efficientdet.errors import DataError
from keras_efficientdet.evaluation.coco import evaluate
from keras_efficientdet.files import replaced_file
from keras_efficientdet.imaging.pil import IMAGE_SUFFIXES, rgb, upright
from keras_efficientdet.ops import images

LIMIT = 300  # images; more hardly change the ranges of the activations

CalibrationSource = str | pathlib.Path | Iterable[str | pathlib.Path | np.ndarray]


def calibration_images(source: CalibrationSource, config: Config) -> list[np.ndarray]:
    """At most 300 images, uint8 [height, width, 3], resized and padded to the network's size.

    Args:
      source: a folder of records or of images, or an iterable of images: paths, or uint8
        [H, W, 3].
    Raises:
      DataError: neither records nor images in the folder. ValueError: no image at all.
    """
    model = config.model
    if isinstance(source, str | pathlib.Path):
        found = _of_path(source, config)
    else:
        found = map(_pixels, source)
    first = tqdm(
        itertools.islice(found, LIMIT), desc='reading calibration', unit=' images', leave=False
    )
    fitted = [
        images.letterbox(image, model.image_size, model.mean_rgb, model.resize)[0]
        for image in first
    ]
    if not fitted:
        raise ValueError('the calibration set holds no image; 100 to 300 are enough')
    return fitted


def _of_path(path, config):
    """Images of records, or of the image files directly in a folder."""
    path = pathlib.Path(path)
    if not path.is_dir():
        return _of_records(record_files(path), config)
    files = sorted(path.iterdir())
    if any(is_record_file(file.name) for file in files):
        return _of_records(record_files(path), config)
    found = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    if not found:
        raise DataError(
            f'{path}: neither TFRecord files nor images ({", ".join(IMAGE_SUFFIXES)}); give a '
            'folder that holds some'
        )
    return map(_pixels, found)


def _of_records(files, config):
    ids = class_ids(config.model)
    records = tf.data.TFRecordDataset(files).take(LIMIT)
    for example in records.map(lambda serialized: parse(serialized, ids)):
        yield example['image'].numpy()


def _pixels(image):
    if isinstance(image, str | pathlib.Path):
        with Image.open(image) as opened:
            return np.asarray(rgb(upright(opened)))
    return np.asarray(image)


def quantization_report(
    functions: Mapping[str, Callable],
    data: tf.data.Dataset,
    config: Config,
    path: str | os.PathLike,
    against: str | None = None,
) -> list[dict[str, typing.Any]]:
    """AP of several forms of one detector on one data set, returned and written as a csv file.

    Args:
      functions: {name of the form: what `evaluate` accepts}.
      data: `dataset(..., training=False)`. path: of the csv file.
      against: the form that the others are compared with; default: the first one.
    Returns:
      [{'form', 'AP', 'AP50', 'AP75', 'lost AP'}], one row per form.
    """
    metrics = {name: evaluate(function, data, config) for name, function in functions.items()}
    reference = metrics[against or next(iter(metrics))]['AP']
    rows = []
    for name, found in metrics.items():
        row = {'form': name, **{key: found[key] for key in ('AP', 'AP50', 'AP75')}}
        rows.append({**row, 'lost AP': reference - found['AP']})
    with replaced_file(path) as working, open(working, 'w', encoding='utf-8', newline='') as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(_rounded(row) for row in rows)
    return rows


def _rounded(row):
    return {key: value if isinstance(value, str) else round(value, 4) for key, value in row.items()}
