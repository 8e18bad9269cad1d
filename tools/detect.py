"""Finds objects in pictures or a video; writes them with boxes, and detections.json (COCO results with file names).

Examples:
  python tools/detect.py --model=runs/first --images='photos/*.jpg' --output=found
  python tools/detect.py --model=cells.onnx --images=film.mp4 --output=found
  python tools/detect.py --model=exported/cells --list=paths.txt --shard=2/16 --draw=false --output=found

Pictures are done in parts; a run that was stopped goes on where it was. See keras_efficientdet/bulk.py.
"""

import pathlib
import re

from absl import app, flags
from command import run

from keras_efficientdet import Detector
from keras_efficientdet.imaging.sources import find_images
from keras_efficientdet.imaging.video import is_video
from keras_efficientdet.inference.bulk import detect_files
from keras_efficientdet.inference.results import annotate_video, write_csv, write_json

_MODEL = flags.DEFINE_string(
    'model',
    None,
    'Folder of train.py, .keras file, SavedModel, .tflite, .onnx or .xml.',
    required=True,
)
_IMAGES = flags.DEFINE_string('images', None, 'Picture, folder, glob pattern or video.')
_LIST = flags.DEFINE_string(
    'list', None, 'Text file with the path of a picture in each line, instead of --images.'
)
_OUTPUT = flags.DEFINE_string('output', None, 'Folder for the results.', required=True)
_SCORE = flags.DEFINE_float('min_score', 0.3, 'Lowest score to draw and to list.')
_DRAW = flags.DEFINE_bool('draw', True, 'Writes pictures with boxes to drawn/.')
_CSV = flags.DEFINE_bool('csv', False, 'Writes detections.csv too.')
_BATCH = flags.DEFINE_integer(
    'batch_size', 8, 'Pictures of one size that go through the network together.', lower_bound=1
)
_WORKERS = flags.DEFINE_integer(
    'workers', None, 'Threads that read pictures; default as many as cores.', lower_bound=1
)
_PART = flags.DEFINE_integer(
    'part_size', 1000, 'Pictures in a part: what a stopped run loses at most.', lower_bound=1
)
_SHARD = flags.DEFINE_string(
    'shard', '1/1', 'Which parts this run does, like 2/16, in a folder that all runs share.'
)
_RUNNER = flags.DEFINE_string(
    'runner', None, 'Runs --list in an Apache Beam pipeline: DirectRunner, FlinkRunner, ...'
)
_BEAM = flags.DEFINE_multi_string(
    'beam_option', [], 'Option of Beam, like --flink_master=host:8081, any number of times.'
)


def main(_):
    if bool(_IMAGES.value) == bool(_LIST.value):
        raise app.UsageError('give either --images or --list')
    if _RUNNER.value:
        _refuse('--runner', 'shard', 'csv', 'part_size', 'workers', 'draw')
        _in_beam()
        return
    _refuse('a run without --runner', 'beam_option')
    if _IMAGES.value and is_video(_IMAGES.value):
        _refuse('a video', 'shard', 'part_size', 'workers', 'draw')
        _video(pathlib.Path(_IMAGES.value), pathlib.Path(_OUTPUT.value))
    else:
        _pictures(find_images(_IMAGES.value) if _IMAGES.value else _listed())


def _refuse(what, *names):
    """A flag that does nothing would be ignored in silence."""
    given = [f'--{name}' for name in names if flags.FLAGS[name].present]
    if given:
        raise ValueError(f'{", ".join(given)}: does not go with {what}; leave it out')


def _listed():
    paths = [line for line in pathlib.Path(_LIST.value).read_text().splitlines() if line.strip()]
    if not paths:
        raise ValueError(f'{_LIST.value}: lists no pictures')
    return paths


def _pictures(paths):
    shard = re.fullmatch(r'(\d+)/(\d+)', _SHARD.value)
    if not shard:
        raise ValueError(f'--shard={_SHARD.value}: expected two numbers, like 2/16')
    counts = detect_files(
        _MODEL.value,
        paths,
        _OUTPUT.value,
        min_score=_SCORE.value,
        part_size=_PART.value,
        shard=tuple(map(int, shard.groups())),
        drawn=_DRAW.value,
        table=_CSV.value,
        batch_size=_BATCH.value,
        workers=_WORKERS.value,
    )
    print(
        f'{counts["detections"]} detections in {counts["pictures"] - counts["broken"]} pictures -> {_OUTPUT.value}'
    )
    print(
        f'{counts["parts"]} parts: {counts["parts done before"]} were there before, {counts["parts missing"]} are missing'
    )
    if counts['broken']:
        print(
            f'{counts["broken"]} pictures could not be read: broken.json, or "broken" in parts/, says which and why'
        )


def _video(video, output):
    rows = annotate_video(
        Detector(_MODEL.value, _BATCH.value),
        video,
        output / f'{video.stem}.mp4',
        min_score=_SCORE.value,
    )
    write_json(output / 'detections.json', rows)
    if _CSV.value:
        write_csv(output / 'detections.csv', rows)
    print(f'{len(rows)} detections -> {output / f"{video.stem}.mp4"}')


def _in_beam():
    from keras_efficientdet.inference.beam import detect_beam

    if not _LIST.value:
        raise app.UsageError('--runner goes with --list')
    detect_beam(
        _MODEL.value,
        _LIST.value,
        _OUTPUT.value,
        min_score=_SCORE.value,
        batch_size=_BATCH.value,
        options=[f'--runner={_RUNNER.value}', *_BEAM.value],
    )
    print(f'-> {_OUTPUT.value}/detections-*.jsonl')


if __name__ == '__main__':
    run(main)
