"""One example on its way to the network: augmented for training, or as it is for evaluation."""

import functools

import tensorflow as tf

from keras_efficientdet.config import class_names
from keras_efficientdet.data import augment
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.ops import images


def augmented_example(example, seed, config):
    """An example as the network sees it in training.

    All random numbers follow from `seed`, so the result does not depend on the thread.

    Args:
      example: dict as `records.parse` returns it, or a tuple of one and the partners it mixes with.
      seed: int64 scalar.
      config: Config.
    Returns:
      dict of image float32 [height, width, 3], normalised, boxes float32 [N, 4] in its pixels,
      classes int32 [N] and crowd bool [N], without objects that have left the image.
    """
    data, model = config.data, config.model
    draws = tf.unstack(tf.random.stateless_uniform([4], tf.stack([seed, 0])))
    if isinstance(example, tuple):
        example = augment.mix(
            example, model.image_size, data.mosaic_prob, data.mixup_prob, tf.stack([seed, 1])
        )
    if data.autoaugment_policy:
        example = augment.distort(example, data.autoaugment_policy, tf.stack([seed, 2]))
    if data.color_jitter:
        jittered = augment.color_jitter(example['image'], data.color_jitter, tf.stack([seed, 3]))
        example = {**example, 'image': jittered}
    if data.input_rand_hflip:
        flipped = augment.random_flip(example['image'], draws[0])
        example = _mirrored(example, *flipped, config)
    if data.input_rand_vflip:
        draw = tf.random.stateless_uniform([], tf.stack([seed, 5]))
        flipped = augment.random_vertical_flip(example['image'], draw)
        example = _mirrored(example, *flipped, config)
    if data.grid_mask:
        masked = augment.grid_mask(example['image'], tf.stack([seed, 4]))
        example = {**example, 'image': masked}
    cropped = augment.scale_jitter(
        example['image'],
        model.image_size,
        data.jitter_min,
        data.jitter_max,
        draws[1:],
        _normalizer(model),
    )
    example = augment.moved(example, *cropped)
    kept = learnable(example, config)
    if data.skip_crowd_during_training:
        kept &= ~example['crowd']
    return augment.select(example, kept)


def _mirrored(example, image, transform, config):
    """The example after a flip; key points of the left become those of the right."""
    example = augment.moved(example, image, transform)
    if head_of(config).finds != 'points':
        return example
    return augment.with_sides(example, transform, augment.mirrored_ids(class_names(config.model)))


def learnable(example, config):
    """bool [N]: objects that are in the image, with an area or, for key points, without."""
    boxes = example['boxes']
    if head_of(config).finds != 'points':
        return augment.with_area(boxes)
    return augment.with_area(boxes) | augment.is_point(boxes)


def plain_example(example, config):
    """An example as it is, at the size of the network.

    Returns:
      the example (see `augmented_example`) with all its objects, and the scale (float32 scalar)
      whose inverse is the scale back of `images.prepare`.
    """
    size = config.model.image_size
    image_hw = tf.unstack(tf.shape(example['image'])[:2])
    scale, offset = images.placed(image_hw, size, config.model.resize)
    image = images.resize_and_pad(example['image'], size, scale, offset, _normalizer(config.model))
    scaled = images.scaled_size(image_hw, scale)
    transform = augment.scaled_and_cropped(image_hw, scaled, offset, size)
    return augment.moved(example, image, transform), images.fit_scale(image_hw, size)


def _normalizer(model):
    return functools.partial(images.normalize, mean_rgb=model.mean_rgb, stddev_rgb=model.stddev_rgb)
