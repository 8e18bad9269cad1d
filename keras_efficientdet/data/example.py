"""One example on its way to the network: augmented for training, or as it is for evaluation."""

import functools

import tensorflow as tf

from keras_efficientdet.data import augment
from keras_efficientdet.ops import images


def augmented_example(example, seed, config):
    """(image float32 [height, width, 3], boxes [N, 4] in its pixels, classes [N]) of an example, or of one and its partners.

    All random numbers follow from `seed` (int64 scalar), so the result does not depend on the thread that makes it.
    """
    data, model = config.data, config.model
    draws = tf.unstack(tf.random.stateless_uniform([4], tf.stack([seed, 0])))
    if isinstance(example, tuple):
        example = augment.mix(
            example, model.image_size, data.mosaic_prob, data.mixup_prob, tf.stack([seed, 1])
        )
    image, boxes = example['image'], example['boxes']
    if data.autoaugment_policy:
        image, boxes = augment.distort(image, boxes, data.autoaugment_policy, tf.stack([seed, 2]))
    if data.color_jitter:
        image = augment.color_jitter(image, data.color_jitter, tf.stack([seed, 3]))
    if data.input_rand_hflip:
        image, boxes = augment.random_flip(image, boxes, draws[0])
    if data.input_rand_vflip:
        image, boxes = augment.random_vertical_flip(
            image, boxes, tf.random.stateless_uniform([], tf.stack([seed, 5]))
        )
    if data.grid_mask:
        image = augment.grid_mask(image, tf.stack([seed, 4]))
    image, boxes, _ = augment.scale_jitter(
        image,
        boxes,
        model.image_size,
        data.jitter_min,
        data.jitter_max,
        draws[1:],
        _normalizer(model),
    )
    kept = augment.with_area(boxes)
    if data.skip_crowd_during_training:
        kept &= ~example['crowd']
    return image, boxes[kept], example['classes'][kept]


def plain_example(example, config):
    """(image float32 [height, width, 3], boxes [N, 4] in its pixels, classes [N], scale) of an example as it is."""
    size, picture = config.model.image_size, example['image']
    image_hw = tf.unstack(tf.shape(picture)[:2])
    scale = images.fit_scale(image_hw, size)
    image = images.resize_and_pad(picture, size, scale, finish=_normalizer(config.model))
    scaled = images.scaled_size(image_hw, scale)
    return (
        image,
        augment.move_boxes(example['boxes'], image_hw, scaled, tf.constant([0, 0]), size),
        example['classes'],
        scale,
    )


def _normalizer(model):
    return functools.partial(images.normalize, mean_rgb=model.mean_rgb, stddev_rgb=model.stddev_rgb)
