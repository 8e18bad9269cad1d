"""ONNX files through tf2onnx: photos in, boxes out."""

import json
import logging

from keras_efficientdet.export.graph import candidates, frozen, photos_in
from keras_efficientdet.export.labels import KEY, labels
from keras_efficientdet.files import new_file
from keras_efficientdet.network.detector import detections
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.optional import require

OPSET = 17


def export_onnx(model, path, config=None, *, nms=True):
    """Writes an ONNX file (opset 17, ai.onnx operators only) with pre- and post-processing inside.

    Its input is uint8 `images` [B, H, W, 3], any batch and size. Its outputs are those of `export_savedmodel`: boxes
    [B, D, 4] ymin xmin ymax xmax in pixels of the input, scores [B, D], classes [B, D] int32, count [B] int32; with nms=False
    boxes [B, A, 4] of all anchors and scores [B, A, K], for a NMS of the engine's own. Labels are in metadata_props
    (`read_labels`).

    Args:
      model: the result of `efficientdet`. path: ends in .onnx. config: default: the one that the model carries.
    Returns:
      the path.
    Raises:
      ImportError: the extra `onnx` is not installed. FileExistsError: the path exists. ValueError: another ending,
        or nms=False with a head that has no anchors.
    """
    config, tf2onnx = config or model.detection_config, require('tf2onnx', 'onnx')
    if not nms and head_of(config).codes is None:
        raise ValueError(
            f'nms=False exports a box for each anchor, and the head {config.model.head!r} has no '
            'anchors; choose nms=True, which puts the post-processing of the head into the file'
        )
    with new_file(path, '.onnx') as (target, working):
        function = photos_in(frozen(model), config, detections if nms else candidates)
        logging.getLogger('tf2onnx').setLevel(logging.ERROR)
        content, _ = tf2onnx.convert.from_function(
            function, input_signature=function.input_signature, opset=OPSET
        )
        _tidy(content.graph)
        row = content.metadata_props.add()
        row.key, row.value = KEY, json.dumps(labels(config))
        working.write_bytes(content.SerializeToString())
    return target


def _tidy(graph):
    """Names the free axes; writes the exact doubling of the pyramid in the one mode that every runtime has (TensorRT too)."""
    for value, names in [
        (graph.input[0], ('batch', 'height', 'width')),
        *((output, ('batch',)) for output in graph.output),
    ]:
        for dimension, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
            dimension.dim_param = name
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == 'Resize' and attribute.s == b'tf_half_pixel_for_nn':
                attribute.s = b'asymmetric'
