"""Converts a labelled data set of any known format to TFRecords.

Examples:
  efficientdet records --input=photos/ --split=train --output=records/train
  efficientdet records --annotations=instances.json --images=photos/ --output=records/train
  efficientdet records --annotations=points.csv --images=photos/ --key_points --output=records
"""

import logging

from keras_efficientdet.data.formats.coco import read_coco
from keras_efficientdet.data.formats.folder import FORMATS, read_folder
from keras_efficientdet.data.formats.key_points import read_key_points
from keras_efficientdet.data.record_writer import write_records
from keras_efficientdet.data.record_writer_beam import write_records_beam

_log = logging.getLogger(__name__)


def define(flags):
    flags.DEFINE_string(
        'input',
        None,
        'Data set: a folder (COCO, VOC, YOLO or csv; the format is detected), or a json or csv '
        'file.',
    )
    flags.DEFINE_string(
        'split', None, 'Split of the input: train, val, test, or a list of a VOC folder.'
    )
    formats = [row.name for row in FORMATS]
    flags.DEFINE_enum('format', None, formats, 'Format of the input, if it could be more than one.')
    flags.DEFINE_string(
        'annotations', None, 'COCO json file; goes with --images, instead of --input.'
    )
    flags.DEFINE_string('images', None, 'Folder of the images that the json file names.')
    flags.DEFINE_string('output', None, 'Folder to create for the records.', required=True)
    flags.DEFINE_bool(
        'masks', False, 'Keep the segmentations of a COCO file, for heads that learn from masks.'
    )
    flags.DEFINE_bool(
        'key_points',
        False,
        'Read key points from --annotations, a COCO json file or a csv table, in place of boxes.',
    )
    flags.DEFINE_integer(
        'workers', None, 'Number of threads; default: one per core.', lower_bound=1
    )
    flags.DEFINE_string(
        'runner', None, 'Run in an Apache Beam pipeline: DirectRunner, FlinkRunner, ...'
    )
    flags.DEFINE_multi_string(
        'beam_option', [], 'Option for Beam, like --flink_master=host:8081; may be repeated.'
    )


def main(given):
    source = _source(given)
    if given.runner:
        options = [f'--runner={given.runner}', *given.beam_option]
        summary = write_records_beam(source, given.output, options)
    else:
        summary = write_records(source, given.output, workers=given.workers)
    _report(summary, given.output)


def _source(given):
    by_file = given.annotations and given.images
    if given.key_points:
        if not by_file or given.input:
            raise ValueError('--key_points goes with --annotations and --images')
        return read_key_points(given.annotations, given.images)
    if given.input and not (given.annotations or given.images):
        return read_folder(given.input, given.split, given.format, given.masks)
    if by_file and not given.input:
        return read_coco(given.annotations, given.images, given.masks)
    raise ValueError('give either --input, or --annotations and --images')


def _report(summary, output):
    _log.info(
        '%d images (%d without boxes), %d boxes (%d crowds) -> %s',
        summary['images'],
        summary['images_without_boxes'],
        summary['boxes'],
        summary['crowd_boxes'],
        output,
    )
    ids = {name: i for i, name in summary['label_map'].items()}
    for name, count in summary['boxes_per_class'].items():
        _log.info('  %5d  %-24s %8d boxes', ids[name], name, count)
    for what, count in summary['changes'].items():
        _log.info('  %d %s', count, what)
