"""COCO figures of a trained detector, for all classes and for each; with --report a page to look at.

Example:
  python tools/evaluate.py --model=runs/first --data=photos/test --report=runs/first/test --set=detect=fast
"""

import pathlib

from absl import flags
from command import detection_config, run

from keras_efficientdet import evaluate
from keras_efficientdet.data.pipeline import dataset
from keras_efficientdet.evaluation import ensemble, numpy_nms
from keras_efficientdet.evaluation.coco import report
from keras_efficientdet.evaluation.report import write_report
from keras_efficientdet.network import efficientdet as models
from keras_efficientdet.training import load_trained

_MODEL = flags.DEFINE_string('model', None, 'Folder that train.py wrote.', required=True)
_DATA = flags.DEFINE_string(
    'data', None, 'A folder, folder/split, or file of any known format.', required=True
)
_SET = flags.DEFINE_multi_string(
    'set', [], 'key=value of the detection settings, any number of times; detect=fast is a preset.'
)
_FLIP = flags.DEFINE_bool(
    'flip', False, 'Look at the mirror image of each picture too, and fuse what is found.'
)
_NUMPY_NMS = flags.DEFINE_bool(
    'numpy_nms', False, 'The official numpy NMS; --set=method= may also be linear or diou.'
)
_REPORT = flags.DEFINE_string(
    'report', None, 'Folder for report.html: curves, best thresholds, confusions, worst images.'
)


def main(_):
    model = load_trained(_MODEL.value)
    config = detection_config(model, _SET.value)
    detect = (numpy_nms if _NUMPY_NMS.value else models).detect_batch(model, config)
    if _FLIP.value:
        detect = ensemble.flip_test(detect, config.detect.max_output_size)
    if _REPORT.value:
        log_file = pathlib.Path(_MODEL.value) / 'log.csv'
        figures = write_report(
            detect,
            _DATA.value,
            _REPORT.value,
            config=config,
            log_file=log_file if log_file.is_file() else None,
        )
    else:
        figures = evaluate(detect, dataset(_DATA.value, config, training=False), config)
    print(report(figures))
    if _REPORT.value:
        print(f'{_REPORT.value}/report.html')


if __name__ == '__main__':
    run(main)
