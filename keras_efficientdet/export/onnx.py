"""ONNX files by tf2onnx: images in, detections out."""

import json
import logging
import os
import pathlib

import keras

from keras_efficientdet.config import Config
from keras_efficientdet.export.graph import candidates, frozen, with_preprocessing
from keras_efficientdet.export.labels import KEY, labels
from keras_efficientdet.files import new_file
from keras_efficientdet.network.detector import detections
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.optional import require

OPSET = 17


def export_onnx(
    model: keras.Model,
    path: str | os.PathLike,
    config: Config | None = None,
    *,
    nms: bool = True,
) -> pathlib.Path:
    """Writes an ONNX file (opset 17, ai.onnx operators only) with pre- and post-processing inside.

    Its input is uint8 `images` [B, H, W, 3] of any batch and image size. Its outputs are those of
    `export_savedmodel`: boxes [B, D, 4] ymin xmin ymax xmax in pixels of the input, scores [B, D],
    classes [B, D] int32, count [B] int32. With nms=False they are boxes [B, A, 4] of all anchors
    and scores [B, A, K], for an NMS of the engine's own. Labels are in metadata_props
    (`read_labels`).

    Args:
      model: the result of `efficientdet`. path: ends in .onnx.
      config: default: the model's own.
    Returns:
      the path.
    Raises:
      ImportError: the extra `onnx` is not installed. FileExistsError: the path exists.
      ValueError: another suffix, or nms=False with a head that has no anchors.
    """
    config = config or model.detection_config
    tf2onnx = require('tf2onnx', 'onnx')
    if not nms and head_of(config).codes is None:
        raise ValueError(
            f'nms=False exports a box for each anchor, and the head {config.model.head!r} has no '
            'anchors; choose nms=True, which puts the post-processing of the head into the file'
        )
    with new_file(path, '.onnx') as (target, working):
        finish = detections if nms else candidates
        function = with_preprocessing(frozen(model), config, finish, resizes_uint8=False)
        logging.getLogger('tf2onnx').setLevel(logging.ERROR)  # it logs each optimisation
        content, _ = tf2onnx.convert.from_function(
            function, input_signature=function.input_signature, opset=OPSET
        )
        _name_free_axes(content.graph)
        _simplify_resize(content.graph)
        row = content.metadata_props.add()
        row.key, row.value = KEY, json.dumps(labels(config))
        working.write_bytes(content.SerializeToString())
    return target


def _name_free_axes(graph):
    """Gives readable names to the axes of any size; tf2onnx numbers them."""
    _name_axes(graph.input[0], ('batch', 'height', 'width'))
    for output in graph.output:
        _name_axes(output, ('batch',))


def _name_axes(value, names):
    for dimension, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
        dimension.dim_param = name


def _simplify_resize(graph):
    """Replaces a coordinate mode of Resize that not every runtime has, among them TensorRT.

    The pyramid resizes by nearest neighbour to exactly twice the size, for which the modes agree.
    """
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == 'Resize' and attribute.s == b'tf_half_pixel_for_nn':
                attribute.s = b'asymmetric'
