"""A batch as the network sees it: augmented images, their boxes, and the positive anchors."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_efficientdet.config import Config, class_names, load_config
from keras_efficientdet.data.pipeline import augmented, dataset
from keras_efficientdet.data.records import Place, count_examples
from keras_efficientdet.imaging.drawing import color, grid
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.ops.images import denormalize

ANCHOR_COLOR = (255, 255, 0)
_SIDE = 640  # pixels of the longer side of a drawn image


def draw_batch(files_or_dir: Place, config: Config, count: int = 9) -> np.ndarray:
    """A sheet of augmented training images with positive anchors and ground truth.

    Anchors are thin and yellow; boxes are drawn above them in the colours of their classes. Boxes
    are read back from the targets of the head, so what is drawn is what the losses get. Where a
    head cannot read them back, those of the augmented examples are drawn, without anchors.

    Args:
      files_or_dir: TFRecords of the training data.
      config: Config of the training.
      count: how many images, if there are as many.
    Returns:
      uint8 [H, W, 3].
    """
    count = min(count, count_examples(files_or_dir))
    config = load_config(config, {'batch_size': count})
    examples = _of_targets if head_of(config).objects else _of_examples
    drawn = [_drawn(*example, config.model) for example in examples(files_or_dir, config, count)]
    return grid(drawn, cell=(_SIDE, _SIDE))


def _of_targets(files_or_dir, config, count):
    """Yields (image, boxes, classes, anchors) of one training batch, as the head reads it back."""
    images, targets, _ = next(iter(dataset(files_or_dir, config, training=True).take(1)))
    for i, image in enumerate(images.numpy()):
        of_image = {name: target[i].numpy() for name, target in targets.items()}
        yield image, *head_of(config).objects(of_image, config)


def _of_examples(files_or_dir, config, count):
    """The same for augmented examples, before a head encodes them; without anchors."""
    for example in augmented(files_or_dir, config).take(count).as_numpy_iterator():
        yield *example, np.zeros((0, 4))


def _drawn(image, boxes, classes, anchors, model):
    pixels = denormalize(image, model.mean_rgb, model.stddev_rgb)
    factor = _SIDE / max(pixels.shape[:2])
    width, height = (round(side * factor) for side in pixels.shape[1::-1])
    drawn = Image.fromarray(pixels).resize((width, height))
    pen = ImageDraw.Draw(drawn)
    for ymin, xmin, ymax, xmax in (anchors * factor).tolist():
        pen.rectangle((xmin, ymin, xmax, ymax), outline=ANCHOR_COLOR)
    names = class_names(model)
    for box, k in zip((boxes * factor).tolist(), classes.tolist(), strict=True):
        _draw_box(pen, box, names[k], color(k))
    return np.asarray(drawn)


def _draw_box(pen, box, name, tint):
    ymin, xmin, ymax, xmax = box
    font = ImageFont.load_default(size=16)
    pen.rectangle((xmin, ymin, xmax, ymax), outline=tint, width=4)
    # White with a black edge is readable on any image.
    style = {'fill': 'white', 'stroke_width': 2, 'stroke_fill': 'black'}
    pen.text((xmin + 6, ymin + 4), name, font=font, **style)
