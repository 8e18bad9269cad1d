"""The operations that policies name, as a table, and `apply`, which runs one of them.

The level of an operation is its magnitude, 0 to 10 (RandAugment goes beyond). Ranges are those of
Zoph et al. 2019 (arXiv 1906.11172), with the pixel ranges that its authors trained with on COCO.
In images smaller than COCO's, shifts and holes shrink in proportion; no shift is longer than half
of its side.
"""

import collections.abc
import typing

import tensorflow as tf

from keras_efficientdet.data.augment import affine, color, masks
from keras_efficientdet.data.augment.annotations import unmoved
from keras_efficientdet.data.augment.box_only import in_boxes

MAX_LEVEL = 10.0
TRANSLATE = 250.0  # pixels at level 10, in an image
TRANSLATE_IN_BOX = 120.0  # pixels at level 10, inside a box
COCO_SIDE = 640  # longer side of the images that the pixel ranges are meant for
SHEAR = 0.3
DEGREES = 30.0
CUTOUT = 100.0  # half a side in pixels
CUTOUT_IN_BOX = 50.0  # half a side in pixels
BOX_CUTOUT = 0.75  # share of a box's sides
BOX_DRAW = 1 / 3  # of a policy's probability, for each box

# Kinds of operations, by what their `change` takes and returns.
IMAGE = 'image'  # (image, amount, seed) -> image
MOVE = 'move'  # (image, amount, seed) -> (image, Transform)
ONE_BOX = 'one box'  # (image, boxes, amount, seed) -> image
EACH_BOX = 'each box'  # (patch inside a box, amount, seed) -> patch, with a draw for each box


class Operation(typing.NamedTuple):
    """A row of the table: `change` gets the amount least + level / 10 * most."""

    kind: str
    change: collections.abc.Callable
    most: float = MAX_LEVEL
    least: float = 0.0


def apply(name, image, boxes, level, probability, seed):
    """Runs an operation.

    Args:
      name: key of OPERATIONS.
      image: uint8 [H, W, 3]. boxes: float32 [N, 4], pixels. level: float32 scalar.
      probability: float32 scalar; counts for operations on each box alone, which draw for each.
      seed: int [2].
    Returns:
      image uint8 [H, W, 3] and its Transform.
    """
    operation = OPERATIONS[name]
    # `most / MAX_LEVEL` is one constant: a graph optimiser cannot round one product in another way.
    amount = level * (operation.most / MAX_LEVEL) + operation.least
    change = operation.change
    if operation.kind == MOVE:
        return change(image, amount, seed)
    if operation.kind == IMAGE:
        changed = change(image, amount, seed)
    elif operation.kind == ONE_BOX:
        changed = change(image, boxes, amount, seed)
    else:
        changed = in_boxes(
            image,
            boxes,
            lambda patch, own: change(patch, amount, own),
            probability * BOX_DRAW,
            seed,
        )
    return changed, unmoved(image)


def _signed(value, seed):
    return tf.where(tf.random.stateless_uniform([], seed) < 0.5, -value, value)


def _whole(number):
    return tf.cast(number, tf.int32)


def _in_proportion(pixels, image):
    """int32: pixels in an image of COCO's size -> pixels in this one, no more in larger ones.

    Whole numbers, so that nothing is rounded.
    """
    longer = tf.reduce_max(tf.shape(image)[:2])
    return _whole(pixels) * tf.minimum(longer, COCO_SIDE) // COCO_SIDE


def _color(change):
    return Operation(IMAGE, lambda image, amount, seed: change(image))


def _enhance(change):
    """A factor of 0.1 to 1.9."""
    return Operation(IMAGE, lambda image, factor, seed: change(image, factor), 1.8, 0.1)


def _shift(translate, axis):
    def change(image, amount, seed):
        pixels = tf.minimum(_in_proportion(amount, image), tf.shape(image)[axis] // 2)
        return translate(image, _signed(tf.cast(pixels, tf.float32), seed))

    return Operation(MOVE, change, TRANSLATE)


def _warp(move, most):
    return Operation(MOVE, lambda image, amount, seed: move(image, _signed(amount, seed)), most)


def _patch_warp(move, most):
    """The pixels inside a box move, the box does not."""

    def change(patch, amount, seed):
        warped, _ = move(patch, _signed(amount, seed))
        return warped

    return Operation(EACH_BOX, change, most)


def _posterize(image, bits, seed):
    return color.posterize(image, tf.maximum(1, _whole(bits)))


def _solarize(image, threshold, seed):
    return color.solarize(image, _whole(threshold))


def _solarize_add(image, addition, seed):
    return color.solarize_add(image, _whole(addition))


def _cutout(image, half, seed):
    return masks.random_cutout(image, _in_proportion(half, image), seed)


def _cutout_of_patch(patch, half, seed):
    return masks.random_cutout(patch, _whole(half), seed)


def _flip_of_patch(patch, amount, seed):
    return tf.reverse(patch, [1])


def _equalize_of_patch(patch, amount, seed):
    return color.equalize(patch)


PICTURE = {
    'AutoContrast': _color(color.autocontrast),
    'Equalize': _color(color.equalize),
    'Posterize': Operation(IMAGE, _posterize, 4.0),
    'Solarize': Operation(IMAGE, _solarize, 256.0),
    'SolarizeAdd': Operation(IMAGE, _solarize_add, 110.0),
    'Color': _enhance(color.saturation),
    'Contrast': _enhance(color.contrast),
    'Brightness': _enhance(color.brightness),
    'Sharpness': _enhance(color.sharpness),
    'Cutout': Operation(IMAGE, _cutout, CUTOUT),
    'BBox_Cutout': Operation(ONE_BOX, masks.box_cutout, BOX_CUTOUT),
    'TranslateX_BBox': _shift(affine.translate_x, 1),
    'TranslateY_BBox': _shift(affine.translate_y, 0),
    'ShearX_BBox': _warp(affine.shear_x, SHEAR),
    'ShearY_BBox': _warp(affine.shear_y, SHEAR),
    'Rotate_BBox': _warp(affine.rotate, DEGREES),
}
BOXES_ALONE = {
    'TranslateX_Only_BBoxes': _patch_warp(affine.translate_x, TRANSLATE_IN_BOX),
    'TranslateY_Only_BBoxes': _patch_warp(affine.translate_y, TRANSLATE_IN_BOX),
    'ShearX_Only_BBoxes': _patch_warp(affine.shear_x, SHEAR),
    'ShearY_Only_BBoxes': _patch_warp(affine.shear_y, SHEAR),
    'Rotate_Only_BBoxes': _patch_warp(affine.rotate, DEGREES),
    'Flip_Only_BBoxes': Operation(EACH_BOX, _flip_of_patch),
    'Solarize_Only_BBoxes': Operation(EACH_BOX, _solarize, 256.0),
    'Equalize_Only_BBoxes': Operation(EACH_BOX, _equalize_of_patch),
    'Cutout_Only_BBoxes': Operation(EACH_BOX, _cutout_of_patch, CUTOUT_IN_BOX),
}
OPERATIONS = {**PICTURE, **BOXES_ALONE}
