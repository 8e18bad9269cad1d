"""Draws what the network sees in training: augmented pictures with their boxes, on one sheet.

Example:
  python tools/show_batch.py --data=photos/train --set=autoaugment_policy=v0 --set=mosaic_prob=0.5 --output=batch.png
"""

from absl import flags
from command import run
from PIL import Image

from keras_efficientdet import load_config
from keras_efficientdet.data.cache import label_overrides
from keras_efficientdet.data.pipeline import augmented
from keras_efficientdet.imaging.drawing import draw_examples

_DATA = flags.DEFINE_string('data', None, 'Data of any known format.', required=True)
_MODEL = flags.DEFINE_string(
    'model', 'efficientdet-lite0', 'Name of a configuration, or a yaml file.'
)
_SET = flags.DEFINE_multi_string('set', [], 'key=value, any number of times.')
_COUNT = flags.DEFINE_integer('count', 16, 'How many pictures.')
_OUTPUT = flags.DEFINE_string('output', 'batch.png', 'PNG file.')


def main(_):
    config = load_config(_MODEL.value, [label_overrides(_DATA.value), *_SET.value])
    examples = list(augmented(_DATA.value, config).take(_COUNT.value))
    Image.fromarray(draw_examples(examples, config.model)).save(_OUTPUT.value)
    print(
        f'{len(examples)} pictures with {sum(len(boxes) for _, boxes, _ in examples)} boxes in {_OUTPUT.value}'
    )


if __name__ == '__main__':
    run(main)
