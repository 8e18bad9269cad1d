"""Exports a trained detector as a SavedModel in TensorFlow Serving's layout: uint8 photos in, boxes out.

Example:
  python tools/export.py --model=runs/first --output=exported/cells
"""
from absl import flags
from command import run

from keras_efficientdet import export_savedmodel, load_config
from keras_efficientdet.training import load_trained

_MODEL = flags.DEFINE_string('model', None, 'Folder that train.py wrote.', required=True)
_OUTPUT = flags.DEFINE_string('output', None, 'Folder; the version goes into a sub-folder of it.', required=True)
_VERSION = flags.DEFINE_integer('version', 1, 'Version number, the name of the sub-folder.')
_SET = flags.DEFINE_multi_string('set', [], 'key=value of the detection settings, any number of times.')


def main(_):
    model = load_trained(_MODEL.value)
    config = load_config(model.detection_config, _SET.value)
    print(export_savedmodel(model, _OUTPUT.value, config, _VERSION.value))


if __name__ == '__main__':
    run(main)
