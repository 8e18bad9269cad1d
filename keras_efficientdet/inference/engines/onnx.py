"""ONNX files of `export_onnx`, by ONNX Runtime (extra `onnx`)."""

import json

from keras_efficientdet.export.labels import KEY
from keras_efficientdet.optional import require

_PROVIDERS = ('CUDAExecutionProvider', 'CPUExecutionProvider')


def load(path):
    """(run, labels) of an .onnx file; on a GPU where ONNX Runtime has one."""
    onnxruntime = require('onnxruntime', 'onnx')
    there = onnxruntime.get_available_providers()
    session = onnxruntime.InferenceSession(
        str(path), providers=[name for name in _PROVIDERS if name in there]
    )
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    names = [row.name for row in session.get_outputs()]
    if text is None:
        raise ValueError(
            f'{path}: no labels of keras_efficientdet in it; was it exported by this project?'
        )
    if 'count' not in names:
        raise ValueError(
            f'{path}: exported without NMS, its outputs are {names}; export it with nms=True'
        )
    return (
        lambda batch: dict(zip(names, session.run(names, {'images': batch}), strict=True))
    ), json.loads(text)
