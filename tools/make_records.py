"""Labelled photos -> TFRecords.

Example:
  python tools/make_records.py --annotations=instances.json --images=photos/ --output=records/train
"""
from absl import flags
from command import run

from keras_efficientdet import read_coco, write_records

_ANNOTATIONS = flags.DEFINE_string('annotations', None, 'COCO json file.', required=True)
_IMAGES = flags.DEFINE_string('images', None, 'Folder with the pictures that it names.', required=True)
_OUTPUT = flags.DEFINE_string('output', None, 'New folder for the records.', required=True)


def main(_):
    summary = write_records(read_coco(_ANNOTATIONS.value, _IMAGES.value), _OUTPUT.value)
    print(f'{summary["images"]} images ({summary["images_without_boxes"]} without boxes), {summary["boxes"]} boxes '
          f'({summary["crowd_boxes"]} crowds) -> {_OUTPUT.value}')
    ids = {name: i for i, name in summary['label_map'].items()}
    for name, count in summary['boxes_per_class'].items():
        print(f'  {ids[name]:>5}  {name:<24} {count:>8} boxes')
    for what, count in summary['changes'].items():
        print(f'  {count} {what}')


if __name__ == '__main__':
    run(main)
