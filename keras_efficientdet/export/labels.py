"""The class names and category ids that an export carries, and how they are read back."""

import json
import os
import pathlib
import typing
import xml.etree.ElementTree as ElementTree
import zipfile

from keras_efficientdet.config import Config, class_ids, class_names
from keras_efficientdet.optional import require

# In a SavedModel; assets.extra is TensorFlow's folder for files that the graph does not read.
LABELS = pathlib.Path('assets.extra', 'labels.json')
KEY = 'keras_efficientdet'  # in metadata_props of ONNX and in rt_info of OpenVINO
INSIDE = 'labels.json'  # in the zip archive at the end of a .tflite file


def labels(config: Config) -> dict[str, typing.Any]:
    """What an export carries: {'model', 'names', 'ids', 'image_size', 'resize', 'mean_rgb', ...}.

    `names` and `ids` (the data set's category ids) are lists in class order. `image_size` (height,
    width), `resize`, `mean_rgb` and `stddev_rgb` are for readers of exports without preprocessing.
    """
    model = config.model
    return {
        'model': model.name,
        'names': list(class_names(model)),
        'ids': list(class_ids(model)),
        'image_size': list(model.image_size),
        'resize': model.resize,
        'mean_rgb': list(model.mean_rgb),
        'stddev_rgb': list(model.stddev_rgb),
    }


def read_labels(path: str | os.PathLike) -> dict[str, typing.Any]:
    """`labels` of an exported model.

    Args:
      path: the folder of a SavedModel, or of one of its versions, or a .tflite, .onnx or .xml file.
    Raises:
      FileNotFoundError: nothing at this path. ValueError: no labels in it, or another kind of file.
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
    """The error for a model without labels."""
    return ValueError(
        f'{path}: no labels of keras_efficientdet in it; was it exported by this project?'
    )


def version_folder(path: str | os.PathLike) -> pathlib.Path | None:
    """The folder with saved_model.pb: `path` itself, or its newest version; None without one."""
    path = pathlib.Path(path)
    if (path / 'saved_model.pb').is_file():
        return path
    folders = [file.parent for file in path.glob('*/saved_model.pb')]
    versions = [folder for folder in folders if folder.name.isdecimal()]
    return max(versions, key=lambda folder: int(folder.name), default=None)


def _saved_model(path):
    file = (version_folder(path) or path) / LABELS
    return file.read_text(encoding='utf-8') if file.is_file() else None


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
