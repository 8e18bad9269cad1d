"""Detections in many images as files: COCO json, csv, images and videos with boxes.

Each file appears when it is complete; after an error the previous file is unchanged.
"""

import collections
import csv
import json
import os
import pathlib
import typing
from collections.abc import Iterable

import numpy as np
from PIL import Image
from tqdm import tqdm

from keras_efficientdet.files import replaced_file
from keras_efficientdet.imaging.drawing import draw
from keras_efficientdet.imaging.video import rate_and_count, video_writer
from keras_efficientdet.inference.detections import Detections
from keras_efficientdet.inference.detector import Detector

COLUMNS = ('file_name', 'image_id', 'category_id', 'category', 'score', 'x', 'y', 'width', 'height')
_BOX_COLUMNS = COLUMNS[-4:]


def result_rows(
    found: Detections, file_name: str | os.PathLike, image_id: int | str | None = None
) -> list[dict[str, typing.Any]]:
    """`Detections.to_coco` with file_name and category (the class name) in each row.

    Boxes are rounded to 0.01 pixel, scores to 0.00001.

    Args:
      image_id: default: `image_id_of` the file name.
    """
    if image_id is None:
        image_id = image_id_of(file_name)
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


def image_id_of(file_name: str | os.PathLike) -> int | str:
    """The file name without its suffix, as a number if it is one: so COCO numbers its images."""
    stem = pathlib.Path(file_name).stem
    return int(stem) if stem.isdecimal() else stem


def image_ids_of(paths: Iterable[str]) -> dict[str, int | str]:
    """{path: image id}, no id twice.

    It is `image_id_of` the path, but the path itself where several paths would have the same id,
    like cam1/0001.jpg and cam2/1.png.
    """
    ids = {path: image_id_of(path) for path in paths}
    count = collections.Counter(ids.values())
    return {path: id if count[id] == 1 else path for path, id in ids.items()}


def write_json(path: str | os.PathLike, rows: Iterable[dict]) -> None:
    """Writes `result_rows` as a COCO results file with one row per line."""
    with replaced_file(path) as working, open(working, 'w', encoding='utf-8') as file:
        file.write('[')
        # Not json.dump of a list: the rows of a bulk run need not fit into memory.
        for i, row in enumerate(rows):
            file.write(',\n' if i else '\n')
            file.write(json.dumps(row))
        file.write('\n]\n')


def write_csv(path: str | os.PathLike, rows: Iterable[dict]) -> None:
    """Writes `result_rows` as a table with the columns COLUMNS, in UTF-8.

    What is not Unicode in a file name is written as in Python, \\udce4.
    """
    with (
        replaced_file(path) as working,
        open(working, 'w', encoding='utf-8', errors='backslashreplace', newline='') as file,
    ):
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for row in rows:
            flat = {**row, **dict(zip(_BOX_COLUMNS, row['bbox'], strict=True))}
            table.writerow([flat[name] for name in COLUMNS])


def save_drawn(path: str | os.PathLike, image: np.ndarray, found: Detections) -> None:
    """Writes an image uint8 [H, W, 3] with its detections, in the format of the path's suffix."""
    with replaced_file(path) as working:
        Image.fromarray(draw(image, found, min_score=0.0)).save(working)


def annotate_video(
    detector: Detector,
    video: str | os.PathLike,
    path: str | os.PathLike,
    *,
    min_score: float = 0.3,
    progress: bool = True,
) -> list[dict[str, typing.Any]]:
    """Writes a video with boxes, frame by frame, at the (average) frame rate of the given one.

    Sound is not copied.

    Args:
      video: a video file. path: new file that ends in .mp4.
    Returns:
      `result_rows` of all frames; image_id is the number of the frame, from 0.
    Raises:
      What `video.frames` and `video.video_writer` raise.
    """
    rate, count = rate_and_count(video)
    rows = []
    with video_writer(path, rate) as write:
        frames = tqdm(
            detector.with_pictures(str(video)),
            desc='detecting',
            unit=' frames',
            total=count,
            disable=not progress,
        )
        for i, (frame, found) in enumerate(frames):
            found = found.above(min_score)
            write(draw(frame, found, min_score=0.0))
            rows += result_rows(found, video, i)
    return rows
