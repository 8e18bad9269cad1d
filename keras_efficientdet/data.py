"""records -> examples -> batches -> (images, targets, weights) for `fit`, or (images, labels) for evaluation."""
import functools

import tensorflow as tf

from keras_efficientdet import augment, images, records
from keras_efficientdet.config import class_ids
from keras_efficientdet.models import head_of

AUTOTUNE = tf.data.AUTOTUNE
_READERS = 8


def dataset(files_or_dir, config, *, training):
    """The input pipeline of a folder (or files) of TFRecords.

    Args:
      files_or_dir: what `records.record_files` takes.
      training: True for shuffled, augmented batches for `fit`, the incomplete last batch dropped; False for every
        example once, in order.
    Returns:
      tf.data.Dataset of known length. With training: (images float32 [B, H, W, 3], targets {'classes': int32 [B, A],
      'boxes': float32 [B, A, 4]}, weights {'classes': [B], 'boxes': [B]}), the weights 1 / (1 + positives in the batch).
      Without: (images, labels {'boxes': [B, M, 4] pixels of the original, 'classes': int32 [B, M] (-1 = padding),
      'crowd': bool [B, M], 'area': [B, M], 'scale': [B], 'id': int64 [B]}).
    Raises:
      DataError: no files, or fewer examples than one batch. While iterating: InvalidArgumentError naming the image whose
      label is not in the configuration's label_map.
    """
    count, batch = records.count_examples(files_or_dir), config.train.batch_size
    if training and count < batch:
        raise records.DataError(f'{files_or_dir}: {count} examples, fewer than one batch of {batch}; lower train.batch_size')
    examples = _examples(files_or_dir, config, shuffle=training)
    if training:
        batches = _with_weights(_training_examples(examples, config).batch(batch, drop_remainder=True))
        return batches.apply(tf.data.experimental.assert_cardinality(count // batch)).prefetch(AUTOTUNE)
    batches = examples.map(lambda e: _evaluation_example(e, config), AUTOTUNE).padded_batch(
        batch, padding_values=_PADDING)
    return batches.apply(tf.data.experimental.assert_cardinality(-(-count // batch))).prefetch(AUTOTUNE)


def validation_dataset(files_or_dir, config):
    """(images, targets, weights) of every example once, not augmented: what `validation_data` wants."""
    count, batch = records.count_examples(files_or_dir), config.train.batch_size
    encode = head_of(config).targets(config)

    def plain(example):
        image, boxes, classes, _ = _resized(example, config)
        kept = augment.with_area(boxes) & ~example['crowd']
        return image, *encode(boxes[kept], classes[kept])

    batches = _with_weights(_examples(files_or_dir, config, shuffle=False).map(plain, AUTOTUNE).batch(batch))
    return batches.apply(tf.data.experimental.assert_cardinality(-(-count // batch))).prefetch(AUTOTUNE)


def _examples(files_or_dir, config, shuffle):
    files = records.record_files(files_or_dir)
    names = tf.data.Dataset.from_tensor_slices(files)
    if shuffle:
        names = names.shuffle(len(files), seed=config.train.seed)
    serialized = names.interleave(tf.data.TFRecordDataset, cycle_length=min(_READERS, len(files)), num_parallel_calls=AUTOTUNE)
    if shuffle:
        serialized = serialized.shuffle(config.data.shuffle_buffer, seed=config.train.seed)
    ids = class_ids(config.model)
    records.check_labels(files_or_dir, ids)
    return serialized.map(lambda s: records.parse(s, ids), AUTOTUNE)


def _training_examples(examples, config):
    """(image, targets, positives)"""
    encode = head_of(config).targets(config)

    def make(example, seed):
        image, boxes, classes = _augmented(example, seed, config)
        return image, *encode(boxes, classes)

    return _seeded(examples, config).map(make, AUTOTUNE)


def augmented(files_or_dir, config):
    """What a network sees in training, for people to look at: (image float32 [height, width, 3], boxes [N, 4] in its pixels,
    classes [N]) of every example once, shuffled and augmented as `dataset` does."""
    examples = _examples(files_or_dir, config, shuffle=True)
    return _seeded(examples, config).map(lambda example, seed: _augmented(example, seed, config), AUTOTUNE)


def _seeded(examples, config):
    """Each example gets random numbers of its own, the same whatever thread maps it; and its partners, where they are mixed."""
    if config.data.mosaic_prob or config.data.mixup_prob:
        examples = augment.with_partners(examples)
    return tf.data.Dataset.zip((examples, tf.data.Dataset.random(config.train.seed, rerandomize_each_iteration=True)))


def _augmented(example, seed, config):
    """(image [height, width, 3], boxes [N, 4] in its pixels, classes [N]) of an example, or of one and its partners."""
    data, model = config.data, config.model
    draws = tf.unstack(tf.random.stateless_uniform([4], tf.stack([seed, 0])))
    if isinstance(example, tuple):
        example = augment.mix(example, model.image_size, data.mosaic_prob, data.mixup_prob, tf.stack([seed, 1]))
    image, boxes = example['image'], example['boxes']
    if data.autoaugment_policy:
        image, boxes = augment.distort(image, boxes, data.autoaugment_policy, tf.stack([seed, 2]))
    if data.color_jitter:
        image = augment.color_jitter(image, data.color_jitter, tf.stack([seed, 3]))
    if data.input_rand_hflip:
        image, boxes = augment.random_flip(image, boxes, draws[0])
    if data.input_rand_vflip:
        image, boxes = augment.random_vertical_flip(image, boxes, tf.random.stateless_uniform([], tf.stack([seed, 5])))
    if data.grid_mask:
        image = augment.grid_mask(image, tf.stack([seed, 4]))
    image, boxes, _ = augment.scale_jitter(image, boxes, model.image_size, data.jitter_min, data.jitter_max, draws[1:],
                                           _normalizer(model))
    kept = augment.with_area(boxes)
    if data.skip_crowd_during_training:
        kept &= ~example['crowd']
    return image, boxes[kept], example['classes'][kept]


def _normalizer(model):
    return functools.partial(images.normalize, mean_rgb=model.mean_rgb, stddev_rgb=model.stddev_rgb)


def _with_weights(batches):
    def add(images_, targets, positives):
        weight = tf.fill(tf.shape(positives), 1. / (1. + tf.reduce_sum(positives)))
        return images_, targets, dict.fromkeys(targets, weight)
    return batches.map(add, AUTOTUNE)


_PADDING = (0., {'boxes': 0., 'classes': -1, 'crowd': False, 'area': 0., 'scale': 0., 'id': tf.constant(0, tf.int64)})


def _evaluation_example(example, config):
    image, _, classes, scale = _resized(example, config)
    return image, {'boxes': example['boxes'], 'classes': classes, 'crowd': example['crowd'], 'area': example['area'],
                   'scale': 1. / scale, 'id': example['id']}


def _resized(example, config):
    """(image [height, width, 3], boxes [N, 4] in its pixels, classes [N], scale)"""
    size, picture = config.model.image_size, example['image']
    image_hw = tf.unstack(tf.shape(picture)[:2])
    scale = images.fit_scale(image_hw, size)
    image = images.resize_and_pad(picture, size, scale, finish=_normalizer(config.model))
    scaled = images.scaled_size(image_hw, scale)
    return image, augment.move_boxes(example['boxes'], image_hw, scaled, tf.constant([0, 0]), size), example['classes'], scale
