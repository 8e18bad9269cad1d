"""What a model was stored as, and the function that runs it: uint8 pictures in, detections out, the same for every engine.

Each file has `load(path)` -> (run, labels). run: uint8 [B, H, W, 3] of any batch and size -> numpy arrays {'boxes': float32
[B, D, 4] ymin xmin ymax xmax in pixels of the pictures, 'scores': float32 [B, D], 'classes': int32 [B, D] 0-based, 'count': int32
[B]}. labels: the dict of `export.labels.labels`.
"""

import hashlib
import pathlib

from keras_efficientdet.inference.engines import keras, onnx, openvino, savedmodel, tflite

_ENDINGS = {'.keras': keras, '.tflite': tflite, '.onnx': onnx, '.xml': openvino}


def load(path):
    """(run, labels) of a .keras, .tflite, .onnx or .xml file, a folder that `fit` wrote, or an exported SavedModel.

    Raises:
      FileNotFoundError: nothing there. ValueError: not a model of this project.
      ImportError: the engine is not installed; it names the extra.
    """
    path, engine, _ = _stored(path)
    return engine.load(path)


def fingerprint(path):
    """Hexadecimal digits that change with the files of a model, whatever they are called. Takes and raises what `load` does."""
    digest = hashlib.sha256()
    for file in _stored(path)[2]:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _stored(path):
    """(path, engine, files that a model is made of)"""
    path = pathlib.Path(path)
    if path.suffix in _ENDINGS and not path.is_dir():
        if not path.is_file():
            raise FileNotFoundError(f'{path}: no such model file')
        return (
            path,
            _ENDINGS[path.suffix],
            [file for file in (path, *_beside(path)) if file.is_file()],
        )
    if (path / 'config.yaml').is_file():
        return (
            path,
            keras,
            [file for file in (path / 'config.yaml', path / 'best.weights.h5') if file.is_file()],
        )
    if savedmodel.folder_of(path):
        return path, savedmodel, savedmodel.files_of(path)
    raise FileNotFoundError(
        f'{path}: neither a file that ends in {", ".join(_ENDINGS)}, nor a folder of `fit`, nor a SavedModel'
    )


def _beside(path):
    """Weights in a file of their own."""
    return [path.with_suffix('.bin')] if path.suffix == '.xml' else []
