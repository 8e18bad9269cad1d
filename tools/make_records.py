"""Labelled photos of any known format -> TFRecords.

Examples:
  python tools/make_records.py --input=photos/ --split=train --output=records/train
  python tools/make_records.py --annotations=instances.json --images=photos/ --output=records/train
"""

from absl import app, flags
from command import run

from keras_efficientdet import read_coco, read_folder, write_records
from keras_efficientdet.data.formats.folder import READERS
from keras_efficientdet.data.record_writer_beam import write_records_beam

_INPUT = flags.DEFINE_string(
    'input', None, 'Folder (COCO, VOC, YOLO, csv; found by itself), or a json or csv file.'
)
_SPLIT = flags.DEFINE_string(
    'split', None, 'Split of the input: train, val, test, or a list of a VOC folder.'
)
_FORMAT = flags.DEFINE_enum(
    'format', None, list(READERS), 'Format of the input, where it could be several.'
)
_ANNOTATIONS = flags.DEFINE_string(
    'annotations', None, 'COCO json file, with --images instead of --input.'
)
_IMAGES = flags.DEFINE_string('images', None, 'Folder with the pictures that it names.')
_OUTPUT = flags.DEFINE_string('output', None, 'New folder for the records.', required=True)
_WORKERS = flags.DEFINE_integer(
    'workers', None, 'Threads; default as many as cores.', lower_bound=1
)
_RUNNER = flags.DEFINE_string(
    'runner', None, 'Makes them in an Apache Beam pipeline: DirectRunner, FlinkRunner, ...'
)
_BEAM = flags.DEFINE_multi_string(
    'beam_option', [], 'Option of Beam, like --flink_master=host:8081, any number of times.'
)


def main(_):
    source = _source()
    if _RUNNER.value:
        summary = write_records_beam(
            source, _OUTPUT.value, [f'--runner={_RUNNER.value}', *_BEAM.value]
        )
    else:
        summary = write_records(source, _OUTPUT.value, workers=_WORKERS.value)
    print(
        f'{summary["images"]} images ({summary["images_without_boxes"]} without boxes), {summary["boxes"]} boxes '
        f'({summary["crowd_boxes"]} crowds) -> {_OUTPUT.value}'
    )
    ids = {name: i for i, name in summary['label_map'].items()}
    for name, count in summary['boxes_per_class'].items():
        print(f'  {ids[name]:>5}  {name:<24} {count:>8} boxes')
    for what, count in summary['changes'].items():
        print(f'  {count} {what}')


def _source():
    if _INPUT.value and not (_ANNOTATIONS.value or _IMAGES.value):
        return read_folder(_INPUT.value, _SPLIT.value, _FORMAT.value)
    if _INPUT.value or not (_ANNOTATIONS.value and _IMAGES.value):
        raise app.UsageError('give either --input, or --annotations and --images')
    return read_coco(_ANNOTATIONS.value, _IMAGES.value)


if __name__ == '__main__':
    run(main)
