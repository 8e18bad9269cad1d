"""What a model was stored as, and the function that runs it: uint8 pictures in, detections out, the same for every engine.

Each file has `load(path)` -> (run, labels). run: uint8 [B, H, W, 3] of any batch and size -> numpy arrays {'boxes': float32
[B, D, 4] ymin xmin ymax xmax in pixels of the pictures, 'scores': float32 [B, D], 'classes': int32 [B, D] 0-based, 'count': int32
[B]}. labels: the dict of `export.labels.labels`.
"""
import pathlib

from keras_efficientdet.engines import keras, onnx, openvino, savedmodel, tflite

_ENDINGS = {'.keras': keras, '.tflite': tflite, '.onnx': onnx, '.xml': openvino}


def load(path):
    """(run, labels) of a .keras, .tflite, .onnx or .xml file, a folder that `fit` wrote, or an exported SavedModel.

    Raises:
      FileNotFoundError: nothing there. ValueError: not a model of this project.
      ImportError: the engine is not installed; it names the extra.
    """
    path = pathlib.Path(path)
    if path.suffix in _ENDINGS and not path.is_dir():
        if not path.is_file():
            raise FileNotFoundError(f'{path}: no such model file')
        return _ENDINGS[path.suffix].load(path)
    if (path / 'config.yaml').is_file():
        return keras.load(path)
    if savedmodel.folder_of(path):
        return savedmodel.load(path)
    raise FileNotFoundError(f'{path}: neither a file that ends in {", ".join(_ENDINGS)}, nor a folder of `fit`, nor a SavedModel')
