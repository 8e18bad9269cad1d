"""Boxes on pictures, and curves, for people to look at."""
import colorsys
import csv
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_GOLDEN_ANGLE = 0.618034


def color(index):
    """RGB of a class, 0..255; neighbours differ much."""
    return tuple(int(255 * c) for c in colorsys.hsv_to_rgb(index * _GOLDEN_ANGLE % 1., 0.85, 1.0))


def draw(image, detections, names=None, min_score=0.3):
    """Draws boxes with class and score.

    Args:
      image: uint8 [H, W, 3]. detections: with boxes [D, 4] ymin xmin ymax xmax in pixels, scores [D], classes [D].
      names: of the classes, in class order; default: those that the detections carry.
    Returns:
      uint8 [H, W, 3], a copy.
    """
    names = names or detections.names
    picture = Image.fromarray(np.asarray(image))
    pen = ImageDraw.Draw(picture)
    line = max(2, round(min(picture.size) / 200))
    font = ImageFont.load_default(size=max(10, line * 5))
    best_last = zip(detections.boxes[::-1], detections.scores[::-1], detections.classes[::-1], strict=True)
    for box, score, k in best_last:                  # so that nothing covers the best
        if score < min_score:
            continue
        ymin, xmin, ymax, xmax = (float(v) for v in box)
        pen.rectangle((xmin, ymin, xmax, ymax), outline=color(int(k)), width=line)
        text = f'{names[int(k)]} {score:.2f}'
        left, top, right, bottom = pen.textbbox((xmin, max(0., ymin - line * 6)), text, font=font)
        pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), fill=color(int(k)))
        pen.text((xmin, max(0., ymin - line * 6)), text, fill='black', font=font)
    return np.asarray(picture)


def grid(pictures, columns=3, cell=(480, 640)):
    """Pictures uint8 [H, W, 3] of any size side by side, each fitted into a cell of (height, width)."""
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new('RGB', (columns * cell[1], rows * cell[0]), 'white')
    for i, picture in enumerate(pictures):
        fitted = Image.fromarray(picture)
        fitted.thumbnail((cell[1] - 8, cell[0] - 8))
        sheet.paste(fitted, (i % columns * cell[1] + 4, i // columns * cell[0] + 4))
    return np.asarray(sheet)


def draw_examples(examples, model, columns=4):
    """A sheet of training examples as the network sees them, boxes in the colours of their classes.

    Args:
      examples: [(image float32 [H, W, 3] normalised, boxes [N, 4] in its pixels, classes [N])], as of `data.augmented`.
      model: the ModelConfig that says how they were normalised.
    Returns:
      uint8 [height, width, 3].
    """
    pictures = []
    for image, boxes, classes in examples:
        pixels = np.asarray(image) * np.array(model.stddev_rgb) + np.array(model.mean_rgb)
        picture = Image.fromarray(np.clip(np.round(pixels), 0, 255).astype(np.uint8))
        pen = ImageDraw.Draw(picture)
        for (ymin, xmin, ymax, xmax), k in zip(np.asarray(boxes).tolist(), np.asarray(classes).tolist(), strict=True):
            pen.rectangle((xmin, ymin, xmax, ymax), outline=color(k), width=2)
        pictures.append(np.asarray(picture))
    height, width = model.image_size
    return grid(pictures, columns, cell=(height + 8, width + 8))


def save_curves(log_file, path):
    """Draws losses and val_AP of the log.csv that `fit` writes, as a PNG. Epochs without a figure are left out."""
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    with open(log_file, newline='') as file:
        rows = list(csv.DictReader(file))
    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    for axis, wanted, title in ((axes[0], ('loss', 'val_loss', 'classes_loss', 'boxes_loss'), 'loss'),
                                (axes[1], ('val_AP', 'val_AP50'), 'COCO AP, validation')):
        for name in wanted:
            points = [(int(row['epoch']), float(row[name])) for row in rows if row.get(name)]
            if points:
                axis.plot(*zip(*points, strict=True), marker='.', label=name)
        axis.set(title=title, xlabel='epoch', xlim=(0.5, len(rows) + 0.5))
        axis.grid(alpha=0.3)
        axis.legend()
    axes[0].set_yscale('log')
    axes[1].set_ylim(0, 1)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
