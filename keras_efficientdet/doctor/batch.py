"""A batch as the network sees it: augmented pictures, their boxes, and the anchors that are told to find them."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_efficientdet.config import class_names, load_config
from keras_efficientdet.data.pipeline import dataset
from keras_efficientdet.data.records import count_examples
from keras_efficientdet.imaging.drawing import color, grid
from keras_efficientdet.network.heads.anchor import config_anchors
from keras_efficientdet.ops.anchors import decode

ANCHOR_COLOR = (255, 255, 0)
_SIDE = 640  # pixels of a drawn picture


def draw_batch(files_or_dir, config, pictures=9):
    """A sheet of augmented training pictures: positive anchors in thin yellow, ground truth above them in its class's colour.

    Boxes are read back from the targets of the anchors, so what is drawn is what the losses are given.
    Returns: uint8 [H, W, 3].
    """
    count = min(pictures, count_examples(files_or_dir))
    config = load_config(config, {'batch_size': count})
    images, targets, _ = next(iter(dataset(files_or_dir, config, training=True).take(1)))
    sheet = [
        _drawn(image, ids, codes, config.model)
        for image, ids, codes in zip(
            images.numpy(), targets['classes'].numpy(), targets['boxes'].numpy(), strict=True
        )
    ]
    return grid(sheet, cell=(_SIDE, _SIDE))


def _drawn(image, ids, codes, model):
    anchors, positive = config_anchors(model), ids >= 0
    pixels = np.clip(image * model.stddev_rgb + model.mean_rgb, 0, 255).astype(np.uint8)
    factor = _SIDE / max(pixels.shape[:2])
    picture = Image.fromarray(pixels).resize([round(n * factor) for n in pixels.shape[1::-1]])
    pen = ImageDraw.Draw(picture)
    for ymin, xmin, ymax, xmax in (anchors[positive] * factor).tolist():
        pen.rectangle((xmin, ymin, xmax, ymax), outline=ANCHOR_COLOR)
    boxes = np.round(decode(codes[positive], anchors[positive]).numpy(), 1)
    rows = np.unique(np.concatenate([boxes, ids[positive, None]], 1), axis=0)
    names, font = class_names(model), ImageFont.load_default(size=16)
    for *box, k in rows.tolist():
        ymin, xmin, ymax, xmax = (value * factor for value in box)
        pen.rectangle((xmin, ymin, xmax, ymax), outline=color(int(k)), width=4)
        pen.text(
            (xmin + 6, ymin + 4),
            names[int(k)],
            fill='white',
            font=font,
            stroke_width=2,
            stroke_fill='black',
        )
    return np.asarray(picture)
