"""Detections of many pictures as files: COCO json, csv, drawn pictures and videos. Each is whole or not there."""

import csv
import json
import pathlib

from PIL import Image
from tqdm import tqdm

from keras_efficientdet.files import replaced_file
from keras_efficientdet.imaging.drawing import draw
from keras_efficientdet.imaging.video import rate_and_count, video_writer

COLUMNS = ('file_name', 'image_id', 'category_id', 'category', 'score', 'x', 'y', 'width', 'height')


def result_rows(found, file_name, image_id=None):
    """`Detections.to_coco` with the names of the file and of the class beside the ids, rounded to 0.01 pixel and 0.00001.

    Args:
      image_id: default: the name of the file without its ending, as a number if it is one, as COCO names its pictures.
    """
    stem = pathlib.Path(file_name).stem
    image_id = (int(stem) if stem.isdecimal() else stem) if image_id is None else image_id
    return [
        {
            **row,
            'bbox': [round(v, 2) for v in row['bbox']],
            'score': round(row['score'], 5),
            'file_name': str(file_name),
            'category': found.names[k],
        }
        for row, k in zip(found.to_coco(image_id), found.classes, strict=True)
    ]


def write_json(path, rows):
    """Writes an iterable of `result_rows` as a COCO results file, a row a line."""
    with replaced_file(path) as working, open(working, 'w') as file:
        file.write('[')
        for i, row in enumerate(rows):
            file.write((',\n' if i else '\n') + json.dumps(row))
        file.write('\n]\n')


def write_csv(path, rows):
    """Writes an iterable of `result_rows` as a table with the columns COLUMNS."""
    with replaced_file(path) as working, open(working, 'w', newline='') as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for row in rows:
            flat = {**row, **dict(zip(COLUMNS[-4:], row['bbox'], strict=True))}
            table.writerow([flat[name] for name in COLUMNS])


def save_drawn(path, picture, found):
    """Writes a picture uint8 [H, W, 3] with the boxes of its Detections; the ending of the path says as what."""
    with replaced_file(path) as working:
        Image.fromarray(draw(picture, found, min_score=0.0)).save(working)


def annotate_video(detector, video, path, *, min_score=0.3, progress=True):
    """Writes a video with boxes, frame for frame, at the (average) rate of the given one; sound is left out.

    Args:
      detector: a Detector. video: a file. path: new file that ends in .mp4.
    Returns:
      `result_rows` of all frames; image_id is the number of the frame, from 0 on.
    Raises:
      as `video.frames` and `video.video_writer`.
    """
    rate, count = rate_and_count(video)
    rows = []
    with video_writer(path, rate) as write:
        looked_at = tqdm(
            detector.with_pictures(str(video)),
            desc='detecting',
            unit=' frames',
            total=count,
            disable=not progress,
        )
        for i, (picture, found) in enumerate(looked_at):
            found = found.above(min_score)
            write(draw(picture, found, min_score=0.0))
            rows += result_rows(found, video, i)
    return rows
