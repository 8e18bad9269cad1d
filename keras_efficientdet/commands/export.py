r"""Exports a trained detector in one of four formats: uint8 images in, boxes out (docs/EXPORT.md).

Examples:
  efficientdet export --model=runs/first --output=exported/cells
  efficientdet export --model=runs/first --output=cells.tflite --format=tflite \
      --quantization=int8 --calibration=records/train --data=records/val
"""

import logging
import pathlib

from keras_efficientdet.commands import command
from keras_efficientdet.config import load_config
from keras_efficientdet.data.pipeline import dataset
from keras_efficientdet.export import FORMATS
from keras_efficientdet.export.calibration import quantization_report
from keras_efficientdet.export.tflite import operator_settings, tflite_detect
from keras_efficientdet.network.detector import detect_batch
from keras_efficientdet.network.trained import load_trained

_log = logging.getLogger(__name__)

# Flags that not every format has; FORMATS lists which, but for `data`.
_OPTIONS = ('version', 'quantization', 'calibration', 'nms')
_COMPARED = 'tflite'  # the format that --data goes with


def define(flags):
    flags.DEFINE_string('model', None, 'Folder that `efficientdet train` wrote.', required=True)
    flags.DEFINE_string(
        'output',
        None,
        'SavedModel: folder, in which the version is a sub-folder. Other formats: the file.',
        required=True,
    )
    flags.DEFINE_enum('format', 'savedmodel', list(FORMATS), 'What to write.')
    flags.DEFINE_integer(
        'version', None, 'SavedModel: version number, the name of the sub-folder; default: 1.'
    )
    flags.DEFINE_enum(
        'quantization', None, ['float16', 'dynamic', 'int8'], 'TFLite: any; OpenVINO: int8.'
    )
    flags.DEFINE_string('calibration', None, 'int8: folder of records or of images.')
    flags.DEFINE_enum(
        'nms',
        None,
        ['op', 'graph', 'none'],
        'TFLite: op (default) or graph; ONNX: graph (default) or none.',
    )
    flags.DEFINE_string(
        'data',
        None,
        'TFLite: labelled data, on which AP of the model and of the file are compared.',
    )
    command.define_set(flags, 'key=value of the detection settings; may be repeated.')


def main(given):
    options = _options(given)
    model = load_trained(given.model)
    config = command.detection_config(model, given.set)
    path = FORMATS[given.format].export(model, given.output, config, **options)
    _log.info('%s', path)
    if given.data:
        _compare(model, pathlib.Path(given.output), config, given)


def _options(given):
    """The arguments of the format's export function; a flag that it does not have is an error."""
    format_options, options = FORMATS[given.format].options, {}
    for name in _OPTIONS:
        word = given[name].value
        if word is None:
            continue
        if name not in format_options:
            raise ValueError(f'--{name} does not go with --format={given.format}')
        words = format_options[name]
        if words is not None and word not in words:
            raise ValueError(
                f'--{name}={word} does not go with --format={given.format}; expected '
                f'{" or ".join(words)}'
            )
        options[name] = word if words is None else words[word]
    if given.data is not None and given.format != _COMPARED:
        raise ValueError(f'--data does not go with --format={given.format}')
    return options


def _compare(model, path, config, given):
    """Logs AP of the model and of the file.

    A file with TensorFlow Lite's NMS operator is held against Keras with the same (hard) NMS, so
    that the loss is that of quantization and not of the other NMS.
    """
    against = 'Keras'
    functions = {against: detect_batch(model, config)}
    if given.nms != 'graph':
        against = 'Keras, hard NMS over all pairs'
        functions[against] = detect_batch(model, operator_settings(config))
    functions[path.name] = tflite_detect(path, config)
    # NMS over all pairs takes much memory for each image, so they go through one by one.
    data = dataset(given.data, load_config(config, {'batch_size': 1}), training=False)
    table = path.with_suffix('.csv')
    for row in quantization_report(functions, data, config, table, against):
        cells = [f'{k} {v}' if isinstance(v, str) else f'{k} {v:.4f}' for k, v in row.items()]
        _log.info('%s', '  '.join(cells))
