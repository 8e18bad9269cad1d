"""Finds objects in images or a video; draws them and writes detections.json.

Examples:
  efficientdet detect --model=runs/first --images='photos/*.jpg' --output=found
  efficientdet detect --model=cells.onnx --images=film.mp4 --output=found
  efficientdet detect --model=exported/cells --list=paths.txt --shard=2/16 --draw=false \\
      --output=found

detections.json holds COCO results with file names. Images are processed in parts; a run that was
stopped continues with the part that it had not finished.
"""

import logging
import pathlib
import re

from keras_efficientdet.commands import command
from keras_efficientdet.imaging.sources import find_images
from keras_efficientdet.imaging.video import is_video
from keras_efficientdet.inference.bulk import detect_files
from keras_efficientdet.inference.detector import Detector
from keras_efficientdet.inference.results import annotate_video, write_csv, write_json

_log = logging.getLogger(__name__)


def define(flags):
    flags.DEFINE_string(
        'model',
        None,
        'Folder that `efficientdet train` wrote, .keras file, SavedModel, .tflite, .onnx or .xml.',
        required=True,
    )
    flags.DEFINE_string('images', None, 'Image, folder, glob pattern or video.')
    flags.DEFINE_string(
        'list', None, 'Text file with the path of one image per line, instead of --images.'
    )
    flags.DEFINE_string('output', None, 'Folder for the results.', required=True)
    flags.DEFINE_float('min_score', 0.3, 'Lowest score to draw and to write.')
    flags.DEFINE_bool('draw', True, 'Write images with boxes to drawn/.')
    flags.DEFINE_bool('csv', False, 'Write detections.csv as well.')
    flags.DEFINE_integer(
        'batch_size', 8, 'Images of one size that are detected in together.', lower_bound=1
    )
    flags.DEFINE_integer(
        'workers', None, 'Threads that read images; default: one per core.', lower_bound=1
    )
    flags.DEFINE_integer(
        'part_size', 1000, 'Images in a part, the most that a stopped run loses.', lower_bound=1
    )
    flags.DEFINE_string(
        'shard', '1/1', 'Which parts this run processes, like 2/16; all runs share the folder.'
    )
    flags.DEFINE_string(
        'runner', None, 'Run --list in an Apache Beam pipeline: DirectRunner, FlinkRunner, ...'
    )
    flags.DEFINE_multi_string(
        'beam_option', [], 'Option for Beam, like --flink_master=host:8081; may be repeated.'
    )
    command.define_json(flags)


def main(given):
    if bool(given.images) == bool(given.list):
        raise ValueError('give either --images or --list')
    if given.runner:
        _refuse(given, '--runner', 'shard', 'csv', 'part_size', 'workers', 'draw')
        return command.Outcome(_in_beam(given))
    _refuse(given, 'a run without --runner', 'beam_option')
    if given.images and is_video(given.images):
        _refuse(given, 'a video', 'shard', 'part_size', 'workers', 'draw')
        return command.Outcome(_video(given))
    return command.Outcome(_images(given))


def _refuse(given, what, *names):
    """A flag without effect must not be ignored silently."""
    present = [f'--{name}' for name in names if given[name].present]
    if present:
        raise ValueError(f'{", ".join(present)}: does not go with {what}; leave it out')


def _paths(given):
    if given.images:
        return find_images(given.images)
    # As Python reads file names: what is not UTF-8 is kept, byte for byte.
    text = pathlib.Path(given.list).read_text(encoding='utf-8-sig', errors='surrogateescape')
    paths = [line for line in text.splitlines() if line.strip()]
    if not paths:
        raise ValueError(f'{given.list}: lists no images')
    return paths


def _images(given):
    paths = _paths(given)
    shard = re.fullmatch(r'(\d+)/(\d+)', given.shard)
    if not shard:
        raise ValueError(f'--shard={given.shard}: expected two numbers, like 2/16')
    counts = detect_files(
        given.model,
        paths,
        given.output,
        min_score=given.min_score,
        part_size=given.part_size,
        shard=(int(shard[1]), int(shard[2])),
        drawn=given.draw,
        table=given.csv,
        batch_size=given.batch_size,
        workers=given.workers,
    )
    read = counts['pictures'] - counts['broken']
    _log.info('%d detections in %d images -> %s', counts['detections'], read, given.output)
    _log.info(
        '%d parts: %d were there before, %d are missing',
        counts['parts'],
        counts['parts done before'],
        counts['parts missing'],
    )
    if counts['ids by path']:
        _log.warning(
            '%d images have the name of another image; their image_id is their path',
            counts['ids by path'],
        )
    if counts['broken']:
        _log.warning(
            '%d images could not be read: see broken.json, or "broken" in parts/',
            counts['broken'],
        )
    return {'output': given.output, **counts}


def _video(given):
    video, output = pathlib.Path(given.images), pathlib.Path(given.output)
    drawn = output / f'{video.stem}.mp4'
    detector = Detector(given.model, given.batch_size)
    rows = annotate_video(detector, video, drawn, min_score=given.min_score)
    write_json(output / 'detections.json', rows)
    if given.csv:
        write_csv(output / 'detections.csv', rows)
    _log.info('%d detections -> %s', len(rows), drawn)
    return {'output': given.output, 'video': str(drawn), 'detections': len(rows)}


def _in_beam(given):
    from keras_efficientdet.inference.beam import detect_beam

    if not given.list:
        raise ValueError('--runner goes with --list')
    detect_beam(
        given.model,
        given.list,
        given.output,
        min_score=given.min_score,
        batch_size=given.batch_size,
        options=[f'--runner={given.runner}', *given.beam_option],
    )
    written = f'{given.output}/detections-*.jsonl'
    _log.info('-> %s', written)
    return {'output': given.output, 'files': written}
