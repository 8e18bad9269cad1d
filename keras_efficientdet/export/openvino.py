"""OpenVINO IR: photos in, boxes out; int8 by NNCF."""

import json
import tempfile

from keras_efficientdet.export.calibration import calibration_pictures
from keras_efficientdet.export.graph import frozen, photos_in
from keras_efficientdet.export.labels import KEY, labels
from keras_efficientdet.export.savedmodel import save_functions
from keras_efficientdet.files import new_file
from keras_efficientdet.optional import require

CONVOLUTIONS = ('Convolution', 'GroupConvolution')


def export_openvino(model, path, config=None, *, quantization=None, calibration=None):
    """Writes an OpenVINO model, `<name>.xml` and `<name>.bin`, with pre- and post-processing inside.

    Input uint8 `images` [B, H, W, 3] of any batch and size, outputs as of `export_savedmodel`; labels in rt_info
    (`read_labels`). Compile it with {'INFERENCE_PRECISION_HINT': 'f32'} for the numbers of Keras: on processors that have
    bfloat16 OpenVINO takes it by default, which is faster and moves boxes and the order of close scores.

    Args:
      model: the result of `efficientdet`. path: ends in .xml. config: default: the one that the model carries.
      quantization: None or 'int8' (the network alone; post-processing stays float).
      calibration: for int8: as of `export_tflite`.
    Returns:
      the path.
    Raises:
      ImportError: the extra `openvino` is not installed. FileExistsError: the path exists. ValueError: a wrong argument.
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
        save_functions(folder, {'serving_default': photos_in(frozen(model), config)})
        network = converted(folder)
        if quantization:
            network = _quantized(network, calibration_pictures(calibration, config))
        network.set_rt_info(json.dumps(labels(config)), [KEY])
        openvino.save_model(network, str(working), compress_to_fp16=False)
    return target


def converted(folder):
    """A SavedModel as an openvino.Model. It sorts by heap: the bubble sort that keeps the order of equal scores takes most of a
    photo's time with 5,000 candidates."""
    found = require('openvino', 'openvino').convert_model(folder)
    for node in _nodes(found):
        if node.get_type_name() == 'TopK':
            node.set_attribute('stable', False)
    return found


def _nodes(network):
    """All nodes, those of loops too."""
    for node in network.get_ops():
        yield node
        if node.get_type_name() == 'Loop':
            yield from _nodes(node.get_function())


def _quantized(network, pictures):
    nncf = require('nncf', 'openvino')
    data = nncf.Dataset([picture[None] for picture in pictures])
    return nncf.quantize(
        network,
        data,
        subset_size=len(pictures),
        ignored_scope=nncf.IgnoredScope(
            names=_after_convolutions(network), types=['Interpolate'], validate=False
        ),
    )


def _after_convolutions(network):
    """Names of the nodes that no convolution comes after: decoding of boxes and NMS."""
    before, after = set(), []
    for node in reversed(network.get_ordered_ops()):
        users = [
            user.get_node() for output in node.outputs() for user in output.get_target_inputs()
        ]
        if any(
            user.get_type_name() in CONVOLUTIONS or user.get_friendly_name() in before
            for user in users
        ):
            before.add(node.get_friendly_name())
        elif node.get_type_name() not in CONVOLUTIONS:
            after.append(node.get_friendly_name())
    return after
