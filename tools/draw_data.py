"""Draws the data that the trainings of segmentation and key points in results/ are recorded on.

Examples:
  python tools/draw_data.py --kind=shapes --output=shapes
  python tools/draw_data.py --kind=kites --output=kites

shapes/train and shapes/val are COCO folders of 320 and 80 images with boxes and masks, those of the
demo; kites/train and kites/val are TFRecords of 400 and 80 images with key points.
"""

import pathlib
import sys

import drawn_key_points
import drawn_shapes
from command import run

from keras_efficientdet import read_key_points, write_records

SEEDS = {'train': 1, 'val': 2}
COUNTS = {'shapes': {'train': 320, 'val': 80}, 'kites': {'train': 400, 'val': 80}}


def define(flags):
    flags.DEFINE_enum('kind', None, sorted(COUNTS), 'What to draw.', required=True)
    flags.DEFINE_string('output', None, 'A new folder.', required=True)


def main(given):
    output = pathlib.Path(given.output)
    for split, count in COUNTS[given.kind].items():
        (shapes if given.kind == 'shapes' else kites)(count, SEEDS[split], output, split)


def shapes(count, seed, output, split):
    drawn_shapes.draw_data_set(count, seed, output / split)


def kites(count, seed, output, split):
    table = drawn_key_points.draw_data_set(count, seed, output / 'images' / split)
    names = dict(enumerate(drawn_key_points.NAMES, 1))
    write_records(read_key_points(table, table.parent, names), output / split)


if __name__ == '__main__':
    run(sys.modules[__name__])
