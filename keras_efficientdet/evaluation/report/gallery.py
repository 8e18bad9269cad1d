"""Images of an evaluation with their errors marked."""

import typing

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_efficientdet.config import class_ids
from keras_efficientdet.data import records
from keras_efficientdet.evaluation import analysis
from keras_efficientdet.imaging.drawing import Mark, draw_marks

_FILE = 'image/filename'
SIDE = 640  # pixels of the longer side, so that labels are readable on images of any size
FOUND = (0, 150, 80)
MISSED = (20, 70, 255)
FALSE_ALARM = (225, 30, 0)


class Exhibit(typing.NamedTuple):
    """An image uint8 [H, W, 3] with its marks, and its caption."""

    image: np.ndarray
    caption: str


def gallery(data, config, matches, threshold, images) -> list[Exhibit]:
    """An Exhibit for each of some images, in their order.

    Args:
      data: folder or files of the records that were evaluated.
      config: Config of the evaluation.
      matches: analysis.Matches.
      threshold: score from which detections count.
      images: indices into matches.image_ids.
    """
    pixels = images_by_id(data, config, {matches.image_ids[i] for i in images})
    found, alarms, missed = analysis.image_errors(matches, threshold)
    exhibits = []
    for i in images:
        image_id = matches.image_ids[i]
        image, file = pixels[image_id]
        title = f'image {image_id} ({file})' if file else f'image {image_id}'
        caption = f'{title}: {found[i]} found, {alarms[i]} false alarms, {missed[i]} missed'
        exhibits.append(Exhibit(marked(image, matches, threshold, i), caption))
    return exhibits


def images_by_id(data, config, wanted):
    """{image id: (uint8 [H, W, 3], file name or '')} as they are in the records."""
    if not wanted:
        return {}
    wanted_ids = tf.constant(sorted(wanted), tf.int64)

    def chosen(serialized):
        return tf.reduce_any(records.image_id(serialized) == wanted_ids)

    def parse(serialized):
        example = records.parse(serialized, class_ids(config.model))
        file = tf.io.parse_single_example(
            serialized, {_FILE: tf.io.FixedLenFeature([], tf.string, '')}
        )
        return example['id'], example['image'], file[_FILE]

    # Chosen before they are decoded, which is what takes time.
    serialized = tf.data.TFRecordDataset(records.record_files(data)).filter(chosen)
    found = {}
    for image_id, image, file in serialized.map(parse).as_numpy_iterator():
        found[int(image_id)] = (image, file.decode(errors='replace'))
    return found


def marked(image, matches, threshold, index) -> np.ndarray:
    """The image enlarged to SIDE pixels, with boxes found, boxes missed and false alarms.

    Args:
      image: uint8 [H, W, 3].
      matches: analysis.Matches.
      threshold: score from which detections count.
      index: of the image in matches.image_ids.
    """
    factor = SIDE / max(image.shape[:2])
    size = [max(1, round(side * factor)) for side in image.shape[1::-1]]
    enlarged = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
    shown = (matches.images == index) & (matches.scores >= threshold)
    found = set(matches.owner[shown].tolist())
    marks = []
    for b in np.flatnonzero(matches.box_images == index):
        box = matches.true_boxes[b] * factor
        if b in found:
            marks.append(_mark(box, FOUND, ''))
        else:
            marks.append(_mark(box, MISSED, matches.names[matches.box_classes[b]]))
    for d in np.flatnonzero(shown & (matches.owner < 0)):
        text = f'{matches.names[matches.classes[d]]} {matches.scores[d]:.2f}'
        marks.append(_mark(matches.boxes[d] * factor, FALSE_ALARM, text))
    return draw_marks(enlarged, marks)


def _mark(xywh, color, text):
    x, y, width, height = xywh
    return Mark((y, x, y + height, x + width), color, text)
