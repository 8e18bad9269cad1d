"""The class names and ids that travel with an export, and how each kind of file gives them back."""

import json
import os
import pathlib
import xml.etree.ElementTree as ElementTree
import zipfile

from keras_efficientdet.config import class_ids, class_names
from keras_efficientdet.optional import require

LABELS = pathlib.Path(
    'assets.extra', 'labels.json'
)  # TensorFlow's own place for files that the graph does not read
KEY = 'keras_efficientdet'  # of metadata_props in ONNX and of rt_info in OpenVINO
INSIDE = 'labels.json'  # in the zip at the end of a .tflite


def labels(config):
    """What travels with an export: {'model', 'names', 'ids'}, lists in class order, and the network's input.

    `image_size` (height, width), `mean_rgb` and `stddev_rgb` are what a reader needs for an export without preprocessing.
    """
    model = config.model
    return {
        'model': model.name,
        'names': list(class_names(model)),
        'ids': list(class_ids(model)),
        'image_size': list(model.image_size),
        'mean_rgb': list(model.mean_rgb),
        'stddev_rgb': list(model.stddev_rgb),
    }


def read_labels(path):
    """`labels` of an exported file: the folder of a version of a SavedModel, a .tflite, .onnx or .xml file.

    Raises:
      FileNotFoundError: nothing there. ValueError: no labels in it, or not one of these kinds.
      ImportError: an .onnx file, and the extra `onnx` is not installed.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f'{path}: no such export')
    reader = _saved_model if path.is_dir() else _READERS.get(path.suffix)
    if reader is None:
        raise ValueError(
            f'{path}: expected a SavedModel folder or a file that ends in {", ".join(_READERS)}'
        )
    text = reader(path)
    if text is None:
        raise no_labels(path)
    return json.loads(text)


def no_labels(path: str | os.PathLike) -> ValueError:
    """The error for a file without labels."""
    return ValueError(
        f'{path}: no labels of keras_efficientdet in it; was it exported by this project?'
    )


def _saved_model(path):
    return (path / LABELS).read_text() if (path / LABELS).is_file() else None


def _tflite(path):
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as inside:
        return inside.read(INSIDE).decode() if INSIDE in inside.namelist() else None


def _onnx(path):
    model = require('onnx', 'onnx').load(str(path), load_external_data=False)
    return next((row.value for row in model.metadata_props if row.key == KEY), None)


def _openvino(path):
    row = ElementTree.parse(path).find(f'./rt_info/{KEY}')
    return None if row is None else row.get('value')


_READERS = {'.tflite': _tflite, '.onnx': _onnx, '.xml': _openvino}
