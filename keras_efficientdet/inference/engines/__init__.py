"""Engines: the programs that run stored models. Images in, detections out, the same for each.

The contract: each module here has `load(path) -> (run, labels)`.
  run: uint8 images [B, H, W, 3] of any batch and image size -> NumPy arrays {'boxes': float32
    [B, D, 4] ymin xmin ymax xmax in pixels of the images, 'scores': float32 [B, D], 'classes':
    int32 [B, D] class ids, 'count': int32 [B]}; rows from `count` on are padding. Of a head with
    masks also 'mask': uint8 [B, H, W] (`inference.Detections`).
  labels: the dict of `export.labels.labels`.
Threads may share a `run`. In a forked process a model is loaded again (`processes.py`).

To add an engine: a module here and a row in `_ENGINES`; a reader of its labels in
`export/labels.py`; its packages as an extra in pyproject.toml. Then a row in each table at the top
of tests/test_engines.py, which holds it to the detections of Keras, `examples/read_<format>.py`,
and the table in docs/EXPORT.md.
"""

import hashlib
import os
import pathlib
import typing

from keras_efficientdet.export.labels import version_folder
from keras_efficientdet.files import size_and_time
from keras_efficientdet.inference.engines import keras, onnx, openvino, savedmodel, tflite


class _Engine(typing.NamedTuple):
    module: typing.Any
    beside: tuple[str, ...] = ()  # suffixes of other files that belong to the model


_ENGINES = {
    '.keras': _Engine(keras),
    '.tflite': _Engine(tflite),
    '.onnx': _Engine(onnx),
    '.xml': _Engine(openvino, beside=('.bin',)),
}


def load(path: str | os.PathLike) -> tuple[typing.Callable, dict]:
    """(run, labels) of a .keras, .tflite, .onnx or .xml file, a folder of `fit`, or a SavedModel.

    Raises:
      FileNotFoundError: no model at this path. ValueError: not a model of this project.
      ImportError: the engine is not installed; the message names the extra.
    """
    module, _ = _find(pathlib.Path(path))
    return module.load(pathlib.Path(path))


class ModelFiles:
    """The files of a stored model, and a hash of them that is computed when it is asked for.

    Their sizes and times are noted here, so that the hash is never that of files which replaced
    them later. Raises FileNotFoundError where `load` does.
    """

    def __init__(self, path: str | os.PathLike):
        self._path = path
        _, self._files = _find(pathlib.Path(path))
        self._noted = [size_and_time(file) for file in self._files]
        self._digest: str | None = None

    @property
    def path(self) -> str | os.PathLike:
        """The path that was given."""
        return self._path

    def fingerprint(self) -> str:
        """Hexadecimal digits that depend on the contents of the files and not on their names.

        Raises:
          ValueError: a file changed since it was noted.
        """
        if self._digest is None:
            digest = hashlib.sha256()
            for file in self._files:
                digest.update(hashlib.sha256(_content(file)).digest())
            self.refuse_changes()
            self._digest = digest.hexdigest()
        return self._digest

    def refuse_changes(self) -> None:
        """Raises ValueError if a file changed since it was noted."""
        for file, noted in zip(self._files, self._noted, strict=True):
            if size_and_time(file) != noted:
                raise ValueError(
                    f'{file} changed after the model was loaded, so its contents at that time are '
                    'unknown; load the model again'
                )


def _content(file):
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b''  # removed: `refuse_changes` says so


def _find(path):
    """(module of the engine, files that the model consists of)"""
    if path.suffix in _ENGINES and not path.is_dir():
        if not path.is_file():
            raise FileNotFoundError(f'{path}: no such model file')
        engine = _ENGINES[path.suffix]
        beside = [path.with_suffix(suffix) for suffix in engine.beside]
        return engine.module, [file for file in (path, *beside) if file.is_file()]
    if (path / 'config.yaml').is_file():
        files = path / 'config.yaml', path / 'best.weights.h5'
        return keras, [file for file in files if file.is_file()]
    folder = version_folder(path)
    if folder:
        return savedmodel, savedmodel.files_of(folder)
    raise FileNotFoundError(
        f'{path}: found neither a file that ends in {", ".join(_ENGINES)}, nor a folder of `fit`, '
        'nor a SavedModel'
    )
