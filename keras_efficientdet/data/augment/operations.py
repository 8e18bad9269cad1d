"""The operations that policies name: (image, boxes, level, probability, seed) -> (image, boxes).

level is the magnitude, 0 to 10 (RandAugment goes beyond); probability counts for the operations of single boxes alone, which
draw for each box. Signs are drawn. Ranges: Zoph et al. 2019 (arXiv 1906.11172), with the pixel ranges that its authors trained
with on COCO. Shifts and holes of a picture smaller than those of COCO are smaller in proportion, and no shift is longer than half
of its side.
"""

import tensorflow as tf

from keras_efficientdet.data.augment import affine, color, masks
from keras_efficientdet.data.augment.box_only import in_boxes

MAX_LEVEL = 10.0
TRANSLATE, TRANSLATE_IN_BOX = 250.0, 120.0  # pixels at level 10
COCO_SIDE = 640  # longer side of the pictures that they are meant for
SHEAR, DEGREES = 0.3, 30.0
CUTOUT, CUTOUT_IN_BOX, BOX_CUTOUT = (
    100.0,
    50.0,
    0.75,
)  # half a side in pixels, the same, share of a box
BOX_DRAW = 1 / 3  # of a policy's probability, for each box


def _enhance(change):
    """Factor 0.1 to 1.9."""
    return lambda image, boxes, level, probability, seed: (
        change(image, level * (1.8 / MAX_LEVEL) + 0.1),
        boxes,
    )


def _plain(change, most=MAX_LEVEL):
    """change: (image, amount, seed) -> image. One product, which no graph optimiser can round in another way."""
    return lambda image, boxes, level, probability, seed: (
        change(image, level * (most / MAX_LEVEL), seed),
        boxes,
    )


def _signed(value, seed):
    return tf.where(tf.random.stateless_uniform([], seed) < 0.5, -value, value)


def _warp(change, most):
    return lambda image, boxes, level, probability, seed: change(
        image, boxes, _signed(level * (most / MAX_LEVEL), seed)
    )


def _boxwise(change, most=MAX_LEVEL):
    """change: (patch, amount, seed) -> patch, for each box by itself."""

    def apply(image, boxes, level, probability, seed):
        def inside(patch, own_seed):
            return change(patch, level * (most / MAX_LEVEL), own_seed)

        return in_boxes(image, boxes, inside, probability * BOX_DRAW, seed), boxes

    return apply


def _patch_warp(change, most):
    return _boxwise(
        lambda patch, amount, seed: change(patch, tf.zeros([0, 4]), _signed(amount, seed))[0], most
    )


def _whole(number):
    return tf.cast(number, tf.int32)


def _in_proportion(pixels, image):
    """int32: pixels of a picture of COCO's size, for this one; no more in larger ones. Whole numbers, so that nothing rounds."""
    return _whole(pixels) * tf.minimum(tf.reduce_max(tf.shape(image)[:2]), COCO_SIDE) // COCO_SIDE


def _shift(move, axis):
    """move: translate along an axis of the picture."""

    def apply(image, boxes, level, probability, seed):
        pixels = tf.minimum(
            _in_proportion(level * (TRANSLATE / MAX_LEVEL), image), tf.shape(image)[axis] // 2
        )
        return move(image, boxes, _signed(tf.cast(pixels, tf.float32), seed))

    return apply


PICTURE = {
    'AutoContrast': _plain(lambda image, amount, seed: color.autocontrast(image)),
    'Equalize': _plain(lambda image, amount, seed: color.equalize(image)),
    'Posterize': _plain(
        lambda image, amount, seed: color.posterize(image, tf.maximum(1, _whole(amount))), 4.0
    ),
    'Solarize': _plain(lambda image, amount, seed: color.solarize(image, _whole(amount)), 256.0),
    'SolarizeAdd': _plain(
        lambda image, amount, seed: color.solarize_add(image, _whole(amount)), 110.0
    ),
    'Color': _enhance(color.saturation),
    'Contrast': _enhance(color.contrast),
    'Brightness': _enhance(color.brightness),
    'Sharpness': _enhance(color.sharpness),
    'Cutout': _plain(
        lambda image, amount, seed: masks.random_cutout(image, _in_proportion(amount, image), seed),
        CUTOUT,
    ),
    'BBox_Cutout': lambda image, boxes, level, probability, seed: (
        masks.box_cutout(image, boxes, level * (BOX_CUTOUT / MAX_LEVEL), seed),
        boxes,
    ),
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
    'Flip_Only_BBoxes': _boxwise(lambda patch, amount, seed: tf.reverse(patch, [1])),
    'Solarize_Only_BBoxes': _boxwise(
        lambda patch, amount, seed: color.solarize(patch, _whole(amount)), 256.0
    ),
    'Equalize_Only_BBoxes': _boxwise(lambda patch, amount, seed: color.equalize(patch)),
    'Cutout_Only_BBoxes': _boxwise(
        lambda patch, amount, seed: masks.random_cutout(patch, _whole(amount), seed), CUTOUT_IN_BOX
    ),
}
OPERATIONS = {**PICTURE, **BOXES_ALONE}
