"""records -> examples -> batches -> (images, targets, weights) for `fit`, or (images, labels) for evaluation."""
import typing

import numpy as np
import tensorflow as tf

from keras_efficientdet import augment, images, records
from keras_efficientdet.config import class_ids
from keras_efficientdet.models import head_of

AUTOTUNE = tf.data.AUTOTUNE
_READERS = 8


class Share(typing.NamedTuple):
    """The part of the training data that one of several workers reads, in batches for one of its replicas.

    By file it reads every `workers`-th file, and repeats early ones where it has fewer than others; else every
    `workers`-th example.
    """
    workers: int = 1
    worker: int = 0
    replicas: int = 1             # of all workers
    by_file: bool = False


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
    if training:
        batches = _training_batches(files_or_dir, config, Share())
        return batches.apply(tf.data.experimental.assert_cardinality(count // batch)).prefetch(AUTOTUNE)
    examples = _examples(files_or_dir, config, shuffle=False)
    batches = examples.map(lambda e: _evaluation_example(e, config), AUTOTUNE).padded_batch(
        batch, padding_values=_PADDING)
    return batches.apply(tf.data.experimental.assert_cardinality(-(-count // batch))).prefetch(AUTOTUNE)


def shared_dataset(files_or_dir, config, share):
    """The training batches of `dataset` that one worker of several reads: endless, of batch_size / replicas images, with the
    weights of that part of the batch (`replicas.ReplicatedModel` corrects them)."""
    steps = records.count_examples(files_or_dir) // config.train.batch_size
    batches = _training_batches(files_or_dir, config, share)
    epoch = batches.repeat() if share.by_file else batches
    return epoch.take(steps * share.replicas // share.workers).repeat().prefetch(AUTOTUNE)


def _training_batches(files_or_dir, config, share):
    examples = _training_examples(_examples(files_or_dir, config, shuffle=True, share=share), config, share)
    if config.data.data_service:
        examples = examples.apply(tf.data.experimental.service.distribute(
            tf.data.experimental.service.ShardingPolicy.DYNAMIC, config.data.data_service, job_name='training'))
    return _with_weights(examples.batch(config.train.batch_size // share.replicas, drop_remainder=True))


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


def _examples(files_or_dir, config, shuffle, share=Share()):  # noqa: B008 (a constant)
    files = records.record_files(files_or_dir)
    if share.by_file:
        files = files[share.worker::share.workers]
    by_example = share.workers > 1 and not share.by_file      # out of one order, that no worker shuffles
    names = tf.data.Dataset.from_tensor_slices(files)
    if shuffle and not by_example:
        names = names.shuffle(len(files), seed=config.train.seed)
    serialized = names.interleave(tf.data.TFRecordDataset, cycle_length=min(_READERS, len(files)), num_parallel_calls=AUTOTUNE)
    if by_example:
        serialized = serialized.shard(share.workers, share.worker)
    if shuffle:
        serialized = serialized.shuffle(config.data.shuffle_buffer, seed=config.train.seed)
    ids = class_ids(config.model)
    records.check_labels(files_or_dir, ids)
    return serialized.map(lambda s: records.parse(s, ids), AUTOTUNE)


def _training_examples(examples, config, share):
    """(image, targets, positives); each example gets random numbers of its own, the same whatever thread maps it."""
    encode = head_of(config).targets(config)
    seeds = tf.data.Dataset.random(config.train.seed + share.worker, rerandomize_each_iteration=True)
    data, model = config.data, config.model

    def make(example, seed):
        draws = tf.unstack(tf.random.stateless_uniform([4], tf.stack([seed, 0])))
        image, boxes = example['image'], example['boxes']
        if data.input_rand_hflip:
            image, boxes = augment.random_flip(image, boxes, draws[0])
        image = images.normalize(image, model.mean_rgb, model.stddev_rgb)
        image, boxes, _ = augment.scale_jitter(image, boxes, model.image_size, data.jitter_min, data.jitter_max, draws[1:])
        kept = augment.with_area(boxes)
        if data.skip_crowd_during_training:
            kept &= ~example['crowd']
        return image, *encode(boxes[kept], example['classes'][kept])

    return tf.data.Dataset.zip((examples, seeds)).map(make, AUTOTUNE)


def _with_weights(batches):
    def add(images_, targets, positives):
        weight = tf.fill(tf.shape(positives), 1. / (1. + tf.reduce_sum(positives)))
        return images_, targets, dict.fromkeys(targets, weight)
    return batches.map(add, AUTOTUNE)


# An int64 of numpy: workers cannot be joined once a tensor of TensorFlow exists.
_PADDING = (0., {'boxes': 0., 'classes': -1, 'crowd': False, 'area': 0., 'scale': 0., 'id': np.int64(0)})


def _evaluation_example(example, config):
    image, _, classes, scale = _resized(example, config)
    return image, {'boxes': example['boxes'], 'classes': classes, 'crowd': example['crowd'], 'area': example['area'],
                   'scale': 1. / scale, 'id': example['id']}


def _resized(example, config):
    """(image [height, width, 3], boxes [N, 4] in its pixels, classes [N], scale)"""
    size, picture = config.model.image_size, example['image']
    image_hw = tf.unstack(tf.shape(picture)[:2])
    scale = images.fit_scale(image_hw, size)
    image = images.resize_and_pad(images.normalize(picture, config.model.mean_rgb, config.model.stddev_rgb), size, scale)
    scaled = images.scaled_size(image_hw, scale)
    return image, augment.move_boxes(example['boxes'], image_hw, scaled, tf.constant([0, 0]), size), example['classes'], scale
