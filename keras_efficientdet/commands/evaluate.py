"""COCO metrics of a trained detector, for all classes and for each; --report writes a page.

Example:
  efficientdet evaluate --model=runs/first --data=photos/test --report=runs/first/test detect=fast
"""

import logging
import pathlib

from keras_efficientdet.commands import command
from keras_efficientdet.data.pipeline import dataset
from keras_efficientdet.evaluation import coco, ensemble, numpy_nms
from keras_efficientdet.evaluation.report import write_report
from keras_efficientdet.network.detector import detect_batch
from keras_efficientdet.network.trained import load_trained

_log = logging.getLogger(__name__)


def define(flags):
    flags.DEFINE_string('model', None, 'Folder that `efficientdet train` wrote.', required=True)
    flags.DEFINE_string(
        'data', None, 'Folder, folder/split, or file of any known format.', required=True
    )
    command.define_set(
        flags, 'key=value of the detection settings; detect=fast is a preset; may be repeated.'
    )
    flags.DEFINE_bool(
        'flip', False, 'Also detect in the mirrored image, and fuse both sets of boxes.'
    )
    flags.DEFINE_bool(
        'numpy_nms', False, 'Use the official numpy NMS; method may then also be linear or diou.'
    )
    flags.DEFINE_string(
        'report',
        None,
        'Folder for report.html: curves, best thresholds, confusion matrix, worst images.',
    )
    command.define_json(flags)


def main(given):
    model = load_trained(given.model)
    config = command.detection_config(model, given.set)
    detect = (numpy_nms.detect_batch if given.numpy_nms else detect_batch)(model, config)
    if given.flip:
        detect = ensemble.flip_test(detect, config.detect.max_output_size)
    metrics = _reported(detect, config, given) if given.report else _plain(detect, config, given)
    _log.info('%s', coco.metrics_text(metrics))
    if given.report:
        _log.info('%s/report.html', given.report)
    return command.Outcome(metrics)


def _plain(detect, config, given):
    return coco.evaluate(detect, dataset(given.data, config, training=False), config)


def _reported(detect, config, given):
    log_file = pathlib.Path(given.model) / 'log.csv'
    return write_report(
        detect,
        given.data,
        given.report,
        config=config,
        log_file=log_file if log_file.is_file() else None,
    )
