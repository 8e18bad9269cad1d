"""Boxes on pictures, and curves, for people to look at."""

import colorsys
import math
import typing

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_GOLDEN_ANGLE = 0.618034


class Mark(typing.NamedTuple):
    """A box on a picture: ymin xmin ymax xmax in pixels, RGB, and a text or none."""

    box: tuple
    color: tuple
    text: str = ''


def color(index):
    """RGB of a class, 0..255: always the same for one class, and much different for neighbours."""
    return tuple(int(255 * c) for c in colorsys.hsv_to_rgb(index * _GOLDEN_ANGLE % 1.0, 0.85, 1.0))


def draw(image, detections, names=None, min_score=0.3):
    """Draws boxes with class and score.

    Args:
      image: uint8 [H, W, 3]. detections: with boxes [D, 4] ymin xmin ymax xmax in pixels, scores [D], classes [D].
      names: of the classes, in class order; default: those that the detections carry.
    Returns:
      uint8 [H, W, 3], a copy.
    """
    return draw_marks(
        image,
        detection_marks(
            detections.boxes,
            detections.scores,
            detections.classes,
            names or detections.names,
            min_score,
        ),
    )


def detection_marks(boxes, scores, classes, names, min_score):
    """[Mark] of detections as `draw` takes them, the best last, so that nothing covers it."""
    return [
        Mark(tuple(map(float, box)), color(int(k)), f'{names[int(k)]} {score:.2f}')
        for box, score, k in zip(boxes[::-1], scores[::-1], classes[::-1], strict=True)
        if score >= min_score
    ]


def draw_marks(image, marks):
    """A copy of a picture uint8 [H, W, 3] with Marks: first all boxes, then all texts, so that no line crosses a text.

    Lines and letters grow with the picture. A text stands above its box, or inside where the picture ends.
    """
    picture = Image.fromarray(np.asarray(image))
    pen = ImageDraw.Draw(picture)
    line = max(2, round(min(picture.size) / 200))
    font = ImageFont.load_default(size=max(10, round(min(picture.size) / 32)))
    for box, tint, _ in marks:
        ymin, xmin, ymax, xmax = box
        pen.rectangle((xmin, ymin, xmax, ymax), outline=tint, width=line)
    for box, tint, text in marks:
        if text:
            _label(pen, picture.size, box, tint, text, font)
    return np.asarray(picture)


def _label(pen, size, box, tint, text, font):
    _, _, right, bottom = pen.textbbox((0, 0), text, font=font, anchor='lt')
    width, height = round(right) + 5, round(bottom) + 5
    x = max(0, min(round(box[1]), size[0] - width))
    y = round(box[0]) - height if box[0] >= height else max(0, round(box[0]))
    pen.rectangle((x, y, x + width - 1, y + height - 1), fill=tint)
    bright = 0.299 * tint[0] + 0.587 * tint[1] + 0.114 * tint[2] > 110
    pen.text((x + 2, y + 2), text, fill='black' if bright else 'white', font=font, anchor='lt')


def grid(pictures, columns=3, cell=(480, 640)):
    """Pictures uint8 [H, W, 3] of any size side by side, each fitted into a cell of (height, width)."""
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new('RGB', (columns * cell[1], rows * cell[0]), 'white')
    for i, picture in enumerate(pictures):
        fitted = Image.fromarray(picture)
        fitted.thumbnail((cell[1] - 8, cell[0] - 8))
        sheet.paste(fitted, (i % columns * cell[1] + 4, i // columns * cell[0] + 4))
    return np.asarray(sheet)
