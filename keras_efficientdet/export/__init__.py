"""Exports: trained models as files that other programs run, one module per format.

The contract: each module has `export_<format>(model, path, config=None, *, options)`. It takes the
result of `efficientdet`, writes pre-processing, network and post-processing as one graph under a
name that did not exist, with `labels.labels` inside, and returns the path. `graph.py` has the parts
that the graphs share. The outputs are those of `export_savedmodel`, unless the readers of a format
expect others.

To add a format: a module here and a row in `FORMATS`, which the command line reads; a reader of its
labels in `labels.py`; an engine that runs it (`inference/engines/__init__.py` lists its places).
"""

import typing
from collections.abc import Callable, Mapping

from keras_efficientdet.export.labels import read_labels
from keras_efficientdet.export.onnx import export_onnx
from keras_efficientdet.export.openvino import export_openvino
from keras_efficientdet.export.savedmodel import export_savedmodel
from keras_efficientdet.export.tflite import export_tflite


class Format(typing.NamedTuple):
    """An export format, and its options as words of a command line."""

    export: Callable  # (model, path, config, **options) -> path
    # option: {word: argument}, or None where any word is passed on
    options: Mapping[str, Mapping[str, typing.Any] | None]


_ANY = None
FORMATS = {
    'savedmodel': Format(export_savedmodel, {'version': _ANY}),
    'tflite': Format(
        export_tflite,
        {
            'quantization': {'float16': 'float16', 'dynamic': 'dynamic', 'int8': 'int8'},
            'calibration': _ANY,
            'nms': {'op': 'op', 'graph': 'graph'},
        },
    ),
    'onnx': Format(export_onnx, {'nms': {'graph': True, 'none': False}}),
    'openvino': Format(export_openvino, {'quantization': {'int8': 'int8'}, 'calibration': _ANY}),
}

__all__ = [
    'FORMATS',
    'Format',
    'export_onnx',
    'export_openvino',
    'export_savedmodel',
    'export_tflite',
    'read_labels',
]
