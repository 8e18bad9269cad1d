"""A batch as the network sees it: augmented images, their boxes, and the positive anchors."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_efficientdet.config import class_names, load_config
from keras_efficientdet.data.pipeline import augmented, dataset
from keras_efficientdet.data.records import count_examples
from keras_efficientdet.imaging.drawing import color, grid
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.ops.images import denormalize

ANCHOR_COLOR = (255, 255, 0)
_SIDE = 640  # pixels of a drawn picture


def draw_batch(files_or_dir, config, pictures=9):
    """A sheet of augmented training images: positive anchors in thin yellow, ground truth above them in its class's colour.

    Boxes are read back from the targets of the head, so what is drawn is what the losses are given. Where a head cannot
    read them back, those of the augmented examples are drawn, without anchors.
    Returns: uint8 [H, W, 3].
    """
    count = min(pictures, count_examples(files_or_dir))
    config = load_config(config, {'batch_size': count})
    read_back = head_of(config).objects
    examples = _of_targets if read_back else _of_examples
    sheet = [_drawn(*example, config.model) for example in examples(files_or_dir, config, count)]
    return grid(sheet, cell=(_SIDE, _SIDE))


def _of_targets(files_or_dir, config, count):
    """(image, boxes, classes, anchors) of one training batch, boxes as the head finds them in its targets."""
    images, targets, _ = next(iter(dataset(files_or_dir, config, training=True).take(1)))
    for i, image in enumerate(images.numpy()):
        own = {name: target[i].numpy() for name, target in targets.items()}
        yield image, *head_of(config).objects(own, config)


def _of_examples(files_or_dir, config, count):
    """The same of augmented examples, before a head encodes them."""
    for example in augmented(files_or_dir, config).take(count).as_numpy_iterator():
        yield *example, np.zeros((0, 4))


def _drawn(image, boxes, classes, anchors, model):
    pixels = denormalize(image, model.mean_rgb, model.stddev_rgb)
    factor = _SIDE / max(pixels.shape[:2])
    picture = Image.fromarray(pixels).resize([round(n * factor) for n in pixels.shape[1::-1]])
    pen = ImageDraw.Draw(picture)
    for ymin, xmin, ymax, xmax in (anchors * factor).tolist():
        pen.rectangle((xmin, ymin, xmax, ymax), outline=ANCHOR_COLOR)
    names, font = class_names(model), ImageFont.load_default(size=16)
    for box, k in zip((boxes * factor).tolist(), classes.tolist(), strict=True):
        ymin, xmin, ymax, xmax = box
        pen.rectangle((xmin, ymin, xmax, ymax), outline=color(k), width=4)
        pen.text(
            (xmin + 6, ymin + 4),
            names[k],
            fill='white',
            font=font,
            stroke_width=2,
            stroke_fill='black',
        )
    return np.asarray(picture)
