r"""Exports a trained detector: uint8 photos in, boxes out, in one of four formats (docs/EXPORT.md).

Example:
  python tools/export.py --model=runs/first --output=exported/cells
  python tools/export.py --model=runs/first --output=cells.tflite --format=tflite --quantization=int8 \
    --calibration=records/train --data=records/val
"""

import pathlib

from absl import flags
from command import detection_config, run

from keras_efficientdet import (
    export_onnx,
    export_openvino,
    export_savedmodel,
    export_tflite,
    load_config,
)
from keras_efficientdet.data.pipeline import dataset
from keras_efficientdet.export.calibration import quantization_report
from keras_efficientdet.export.tflite import operator_settings, tflite_detect
from keras_efficientdet.network.detector import detect_batch
from keras_efficientdet.training import load_trained

_MODEL = flags.DEFINE_string('model', None, 'Folder that train.py wrote.', required=True)
_OUTPUT = flags.DEFINE_string(
    'output',
    None,
    'SavedModel: folder; the version goes into a sub-folder of it. Else: the file.',
    required=True,
)
_FORMAT = flags.DEFINE_enum(
    'format', 'savedmodel', ['savedmodel', 'tflite', 'onnx', 'openvino'], 'What to write.'
)
_VERSION = flags.DEFINE_integer(
    'version', 1, 'SavedModel: version number, the name of the sub-folder.'
)
_QUANTIZATION = flags.DEFINE_enum(
    'quantization', None, ['float16', 'dynamic', 'int8'], 'TFLite: all; OpenVINO: int8.'
)
_CALIBRATION = flags.DEFINE_string('calibration', None, 'int8: folder of records or of pictures.')
_NMS = flags.DEFINE_enum(
    'nms',
    None,
    ['op', 'graph', 'none'],
    'TFLite: op (default) or graph; ONNX: graph (default) or none.',
)
_DATA = flags.DEFINE_string(
    'data', None, 'TFLite: folder of records; AP before and after is printed and written beside it.'
)
_SET = flags.DEFINE_multi_string(
    'set', [], 'key=value of the detection settings, any number of times.'
)


def main(_):
    _check()
    model = load_trained(_MODEL.value)
    config, output = detection_config(model, _SET.value), _OUTPUT.value
    shared = {'quantization': _QUANTIZATION.value, 'calibration': _CALIBRATION.value}
    if _FORMAT.value == 'savedmodel':
        print(export_savedmodel(model, output, config, _VERSION.value))
    elif _FORMAT.value == 'onnx':
        print(export_onnx(model, output, config, nms=_NMS.value != 'none'))
    elif _FORMAT.value == 'openvino':
        print(export_openvino(model, output, config, **shared))
    else:
        print(export_tflite(model, output, config, nms=_NMS.value or 'op', **shared))
        if _DATA.value:
            _report(model, pathlib.Path(output), config)


def _check():
    """A flag that the format does not have would be ignored in silence."""
    taken = {
        'savedmodel': (),
        'tflite': ('quantization', 'calibration', 'nms', 'data'),
        'onnx': ('nms',),
        'openvino': ('quantization', 'calibration'),
    }[_FORMAT.value]
    for name in ('quantization', 'calibration', 'nms', 'data'):
        if flags.FLAGS[name].value is not None and name not in taken:
            raise ValueError(f'--{name} does not go with --format={_FORMAT.value}')


def _report(model, path, config):
    """Of a file with the operator's NMS, what is lost is held against Keras with the same NMS, not against the soft one."""
    functions, against = {'Keras': detect_batch(model, config)}, 'Keras'
    if _NMS.value != 'graph':
        against = 'Keras, hard NMS over all pairs'
        functions[against] = detect_batch(model, operator_settings(config))
    functions[path.name] = tflite_detect(path, config)
    one_by_one = dataset(
        _DATA.value, load_config(config, {'batch_size': 1}), training=False
    )  # all pairs take much memory
    for row in quantization_report(
        functions, one_by_one, config, path.with_suffix('.csv'), against
    ):
        print(
            '  '.join(f'{k} {v}' if isinstance(v, str) else f'{k} {v:.4f}' for k, v in row.items())
        )


if __name__ == '__main__':
    run(main)
