"""Boxes and labels drawn on images, for people to look at."""

import colorsys
import math
import typing
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Multiples of the golden ratio's fraction spread hues evenly, however many classes there are.
_HUE_STEP = 0.618034
# Line width and letter height in parts of the shorter side of the image, and their minima.
_LINE, _LEAST_LINE = 1 / 200, 2
_FONT, _LEAST_FONT = 1 / 32, 10
_MARGIN = 2  # pixels between a label's text and its edge
_MASK = 0.5  # share of the colour in the pixels of a mask
_CELL_GAP = 4  # pixels around each image in a grid


class Mark(typing.NamedTuple):
    """A box to draw: ymin xmin ymax xmax in pixels, an RGB colour, and a label or ''."""

    box: tuple[float, float, float, float]
    color: tuple[int, int, int]
    text: str = ''


def color(index: int) -> tuple[int, int, int]:
    """RGB of a class id, 0 to 255: always the same for one class, and distinct for neighbours."""
    red, green, blue = colorsys.hsv_to_rgb(index * _HUE_STEP % 1.0, 0.85, 1.0)
    return int(255 * red), int(255 * green), int(255 * blue)


def draw(
    image: np.ndarray,
    detections: typing.Any,
    names: Sequence[str] | None = None,
    min_score: float = 0.3,
) -> np.ndarray:
    """Draws the boxes of detections with class name and score, on their mask.

    Args:
      image: uint8 [H, W, 3].
      detections: `Detections`, or any object with boxes [D, 4] (ymin xmin ymax xmax in pixels),
        scores [D] and classes [D], and a `mask` [H, W] or None.
      names: of the classes, in class order; default: `detections.names`.
      min_score: detections below it are left out.
    Returns:
      uint8 [H, W, 3], a copy.
    """
    mask = getattr(detections, 'mask', None)
    if mask is not None:
        image = draw_mask(image, mask)
    marks = detection_marks(
        detections.boxes,
        detections.scores,
        detections.classes,
        names or detections.names,
        min_score,
    )
    return draw_marks(image, marks)


def draw_mask(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A copy of an image uint8 [H, W, 3] with the classes of a mask uint8 [H, W] in their colours.

    0, the background, and 255, ignored, stay as they are; k + 1 has the colour of the class id k.
    """
    colors = np.array([color(value - 1) for value in range(256)], np.float32)
    shown = (mask > 0) & (mask < 255)
    mixed = np.array(image)
    mixed[shown] = (1 - _MASK) * mixed[shown] + _MASK * colors[mask[shown]]
    return mixed


def detection_marks(
    boxes: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    names: Sequence[str],
    min_score: float,
) -> list[Mark]:
    """Marks of detections [D, 4], [D], [D], the best last, so that no other mark covers it."""
    marks = []
    for box, score, k in zip(boxes[::-1], scores[::-1], classes[::-1], strict=True):
        if score >= min_score:
            box = tuple(float(side) for side in box)
            marks.append(Mark(box, color(int(k)), f'{names[int(k)]} {score:.2f}'))
    return marks


def draw_marks(image: np.ndarray, marks: Sequence[Mark]) -> np.ndarray:
    """A copy of an image uint8 [H, W, 3] with marks: first all boxes, then all labels on top.

    Lines and letters grow with the image. A label is above its box, or inside it where the image
    leaves no room above. A box without size, a key point, is a dot.
    """
    canvas = Image.fromarray(np.asarray(image))
    pen = ImageDraw.Draw(canvas)
    side = min(canvas.size)
    width = max(_LEAST_LINE, round(side * _LINE))
    font = ImageFont.load_default(size=max(_LEAST_FONT, round(side * _FONT)))
    for mark in marks:
        ymin, xmin, ymax, xmax = mark.box
        if (ymin, xmin) == (ymax, xmax):
            dot = (xmin - 2 * width, ymin - 2 * width, xmin + 2 * width, ymin + 2 * width)
            pen.ellipse(dot, fill=mark.color, outline='white')
        else:
            pen.rectangle((xmin, ymin, xmax, ymax), outline=mark.color, width=width)
    for mark in marks:
        if mark.text:
            _label(pen, canvas.size, mark, font)
    return np.asarray(canvas)


def _label(pen, size, mark, font):
    _, _, right, bottom = pen.textbbox((0, 0), mark.text, font=font, anchor='lt')
    width, height = round(right) + 2 * _MARGIN + 1, round(bottom) + 2 * _MARGIN + 1
    ymin, xmin, _, _ = mark.box
    x = max(0, min(round(xmin), size[0] - width))
    y = round(ymin) - height if ymin >= height else max(0, round(ymin))
    pen.rectangle((x, y, x + width - 1, y + height - 1), fill=mark.color)
    fill = 'black' if _brightness(mark.color) > 110 else 'white'
    pen.text((x + _MARGIN, y + _MARGIN), mark.text, fill=fill, font=font, anchor='lt')


def _brightness(rgb):
    """Luma of ITU-R BT.601, 0 to 255."""
    red, green, blue = rgb
    return 0.299 * red + 0.587 * green + 0.114 * blue


def grid(
    images: Sequence[np.ndarray], columns: int = 3, cell: tuple[int, int] = (480, 640)
) -> np.ndarray:
    """Images uint8 [H, W, 3] of any size in rows, each fitted into a cell of (height, width).

    Larger images are scaled down with their aspect ratio kept; smaller ones keep their size.
    """
    height, width = cell
    rows = math.ceil(len(images) / columns)
    sheet = Image.new('RGB', (columns * width, rows * height), 'white')
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        fitted = Image.fromarray(image)
        fitted.thumbnail((width - 2 * _CELL_GAP, height - 2 * _CELL_GAP))
        sheet.paste(fitted, (column * width + _CELL_GAP, row * height + _CELL_GAP))
    return np.asarray(sheet)
