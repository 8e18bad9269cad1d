"""COCO figures of a trained detector, for all classes and for each.

Example:
  python tools/evaluate.py --model=runs/first --data=records/test --set=max_nms_inputs=1000
"""
from absl import flags
from command import run

from keras_efficientdet import evaluate, load_config
from keras_efficientdet.data import dataset
from keras_efficientdet.evaluation import report
from keras_efficientdet.training import load_trained

_MODEL = flags.DEFINE_string('model', None, 'Folder that train.py wrote.', required=True)
_DATA = flags.DEFINE_string('data', None, 'Folder of records.', required=True)
_SET = flags.DEFINE_multi_string('set', [], 'key=value of the detection settings, any number of times.')


def main(_):
    model = load_trained(_MODEL.value)
    config = load_config(model.detection_config, _SET.value)
    print(report(evaluate(model, dataset(_DATA.value, config, training=False), config)))


if __name__ == '__main__':
    run(main)
