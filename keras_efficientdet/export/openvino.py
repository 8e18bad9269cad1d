"""OpenVINO IR: images in, detections out; int8 by NNCF."""

import json
import os
import pathlib
import tempfile
import typing

import keras

from keras_efficientdet.config import Config
from keras_efficientdet.export.calibration import CalibrationSource, calibration_images
from keras_efficientdet.export.graph import frozen, with_preprocessing
from keras_efficientdet.export.labels import KEY, labels
from keras_efficientdet.export.savedmodel import save_functions
from keras_efficientdet.files import new_file
from keras_efficientdet.optional import require

CONVOLUTIONS = ('Convolution', 'GroupConvolution')


def export_openvino(
    model: keras.Model,
    path: str | os.PathLike,
    config: Config | None = None,
    *,
    quantization: str | None = None,
    calibration: CalibrationSource | None = None,
) -> pathlib.Path:
    """Writes an OpenVINO model, `<name>.xml` and `<name>.bin`, with pre- and post-processing.

    Its input is uint8 `images` [B, H, W, 3] of any batch and image size, its outputs are those of
    `export_savedmodel`; labels are in rt_info (`read_labels`). For the numbers of Keras, compile it
    with {'INFERENCE_PRECISION_HINT': 'f32'}: on processors that have bfloat16 OpenVINO uses it by
    default, which is faster, but moves boxes and the order of close scores.

    Args:
      model: the result of `efficientdet`. path: ends in .xml.
      config: default: the model's own.
      quantization: None or 'int8' (the network alone; post-processing stays float).
      calibration: for int8, as in `export_tflite`.
    Returns:
      the path.
    Raises:
      ImportError: the extra `openvino` is not installed. FileExistsError: the path exists.
      ValueError: an invalid argument.
    """
    config = config or model.detection_config
    if quantization not in (None, 'int8') or (quantization == 'int8') != (calibration is not None):
        raise ValueError(
            f"quantization {quantization!r}: expected None, or 'int8' together with `calibration`"
        )
    openvino = require('openvino', 'openvino')
    with (
        new_file(path, '.xml', '.bin') as (target, working),
        tempfile.TemporaryDirectory() as folder,
    ):
        save_functions(folder, {'serving_default': with_preprocessing(frozen(model), config)})
        network = converted(folder)
        if calibration is not None:
            network = _quantized(network, calibration_images(calibration, config))
        network.set_rt_info(json.dumps(labels(config)), [KEY])
        openvino.save_model(network, str(working), compress_to_fp16=False)
    return target


def converted(folder: str | os.PathLike) -> typing.Any:
    """A SavedModel as an openvino.Model that sorts by heap.

    Stable sorting would keep the order of equal scores, but OpenVINO does it by bubble sort, which
    takes most of the time of an image with 5,000 candidates.
    """
    network = require('openvino', 'openvino').convert_model(folder)
    for node in _nodes(network):
        if node.get_type_name() == 'TopK':
            node.set_attribute('stable', False)
    return network


def _nodes(network):
    """All nodes, including those inside of loops."""
    for node in network.get_ops():
        yield node
        if node.get_type_name() == 'Loop':
            yield from _nodes(node.get_function())


def _quantized(network, calibration):
    nncf = require('nncf', 'openvino')
    ignored = nncf.IgnoredScope(
        names=_after_convolutions(network), types=['Interpolate'], validate=False
    )
    return nncf.quantize(
        network,
        nncf.Dataset([image[None] for image in calibration]),
        subset_size=len(calibration),
        ignored_scope=ignored,
    )


def _after_convolutions(network):
    """Names of the nodes that no convolution follows: decoding of boxes and NMS."""
    before, after = set(), []
    # From the outputs backwards, so that the users of a node are known before the node itself.
    for node in reversed(network.get_ordered_ops()):
        name = node.get_friendly_name()
        if any(
            _is_convolution(user) or user.get_friendly_name() in before for user in _users(node)
        ):
            before.add(name)
        elif not _is_convolution(node):
            after.append(name)
    return after


def _users(node):
    return [user.get_node() for output in node.outputs() for user in output.get_target_inputs()]


def _is_convolution(node):
    return node.get_type_name() in CONVOLUTIONS
