"""Pictures of an evaluation with their errors marked."""

import typing

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_efficientdet.config import class_ids
from keras_efficientdet.data import records
from keras_efficientdet.evaluation import analysis
from keras_efficientdet.imaging.drawing import Mark, draw_marks

_FILE = 'image/filename'
SIDE = 640  # pixels of the longer side, so that labels are readable on pictures of any size
FOUND, MISSED, FALSE_ALARM = (0, 150, 80), (20, 70, 255), (225, 30, 0)


class Exhibit(typing.NamedTuple):
    """A picture uint8 [H, W, 3] and what to say of it."""

    picture: np.ndarray
    caption: str


def gallery(data, config, matches, threshold, images):
    """[Exhibit] of some images, in their order.

    Args:
      data: folder or files of the records that were evaluated.
      matches: analysis.Matches. threshold: score from which detections count.
      images: indices into matches.image_ids.
    """
    pictures = _pictures(data, config, {matches.image_ids[i] for i in images})
    errors = analysis.image_errors(matches, threshold)
    exhibits = []
    for i in images:
        picture, file = pictures[matches.image_ids[i]]
        found, alarms, missed = (e[i] for e in errors)
        caption = f'image {matches.image_ids[i]}{file and f" ({file})"}: {found} found, {alarms} false alarms, {missed} missed'
        exhibits.append(Exhibit(marked(picture, matches, threshold, i), caption))
    return exhibits


def _pictures(data, config, wanted):
    """{image id: (uint8 [H, W, 3], file name or '')} as they are in the records."""

    def parse(serialized):
        found = records.parse(serialized, class_ids(config.model))
        named = tf.io.parse_single_example(
            serialized, {_FILE: tf.io.FixedLenFeature([], tf.string, '')}
        )
        return found['id'], found['image'], named[_FILE]

    chosen = (
        tf.data.TFRecordDataset(records.record_files(data))
        .map(parse)
        .filter(lambda i, *_: tf.reduce_any(i == tf.constant(sorted(wanted), tf.int64)))
    )
    return (
        {
            int(i): (picture, file.decode(errors='replace'))
            for i, picture, file in chosen.as_numpy_iterator()
        }
        if wanted
        else {}
    )


def marked(picture, matches, threshold, image):
    """The picture at SIDE pixels: boxes that were found, boxes that were missed, false alarms."""
    factor = SIDE / max(picture.shape[:2])
    size = [max(1, round(side * factor)) for side in picture.shape[1::-1]]
    enlarged = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
    shown = (matches.images == image) & (matches.scores >= threshold)
    found = set(matches.owner[shown].tolist())
    marks = []
    for b in np.flatnonzero(matches.box_images == image):
        name = matches.names[matches.box_classes[b]]
        marks.append(
            _mark(matches.true_boxes[b], factor, *((FOUND, '') if b in found else (MISSED, name)))
        )
    for d in np.flatnonzero(shown & (matches.owner < 0)):
        marks.append(
            _mark(
                matches.boxes[d],
                factor,
                FALSE_ALARM,
                f'{matches.names[matches.classes[d]]} {matches.scores[d]:.2f}',
            )
        )
    return draw_marks(enlarged, marks)


def _mark(xywh, factor, tint, text):
    x, y, width, height = xywh * factor
    return Mark((y, x, y + height, x + width), tint, text)
