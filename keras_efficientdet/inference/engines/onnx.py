"""ONNX files of `export_onnx`, by ONNX Runtime (extra `onnx`)."""

import json

from keras_efficientdet.export.labels import KEY, no_labels
from keras_efficientdet.optional import require

_PROVIDERS = ('CUDAExecutionProvider', 'CPUExecutionProvider')


def load(path):
    """(run, labels) of an .onnx file; on a GPU where ONNX Runtime has one."""
    onnxruntime = require('onnxruntime', 'onnx')
    available = onnxruntime.get_available_providers()
    session = onnxruntime.InferenceSession(
        str(path), providers=[name for name in _PROVIDERS if name in available]
    )
    # Asked of the session: `export.labels.read_labels` would need the package onnx as well.
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    if text is None:
        raise no_labels(path)
    names = [output.name for output in session.get_outputs()]
    if 'count' not in names:
        raise ValueError(
            f'{path}: exported without NMS, its outputs are {names}; export it with nms=True'
        )

    def run(batch):
        return dict(zip(names, session.run(names, {'images': batch}), strict=True))

    return run, json.loads(text)
