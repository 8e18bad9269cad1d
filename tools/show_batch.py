"""Draws what the network sees in training: augmented images with boxes and positive anchors.

Example:
  python tools/show_batch.py --data=photos/train --output=batch.png autoaugment_policy=v0 \\
      mosaic_prob=0.5
"""

import sys

from command import run
from PIL import Image

from keras_efficientdet import label_overrides, load_config
from keras_efficientdet.commands.command import define_set
from keras_efficientdet.data.cache import records_of
from keras_efficientdet.doctor.batch import draw_batch


def define(flags):
    flags.DEFINE_string('data', None, 'Data of any known format.', required=True)
    flags.DEFINE_string(
        'model', 'efficientdet-lite0', 'Name of a configuration, or path of a yaml file.'
    )
    define_set(flags, 'key=value of the configuration; may be repeated.')
    flags.DEFINE_integer('count', 16, 'Number of images.')
    flags.DEFINE_string('output', 'batch.png', 'PNG file to write.')


def main(given):
    config = load_config(given.model, [label_overrides(given.data), *given.set])
    sheet = draw_batch(records_of(given.data), config, given.count)
    Image.fromarray(sheet).save(given.output)
    print(f'{given.output}: boxes in the colours of their classes, yellow: positive anchors')


if __name__ == '__main__':
    run(sys.modules[__name__])
