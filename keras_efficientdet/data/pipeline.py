"""records -> examples -> batches -> (images, targets, weights) for `fit`, or (images, labels) for evaluation."""

import typing

import numpy as np
import tensorflow as tf

from keras_efficientdet.config import class_ids
from keras_efficientdet.data import augment, records
from keras_efficientdet.data.cache import records_of
from keras_efficientdet.data.example import augmented_example, plain_example
from keras_efficientdet.errors import DataError
from keras_efficientdet.network.heads import head_of

AUTOTUNE = tf.data.AUTOTUNE
_READERS = 8


class Share(typing.NamedTuple):
    """The part of the training data that one of several workers reads, in batches for one of its replicas.

    By file it reads every `workers`-th file, and repeats early ones where it has fewer than others; else every
    `workers`-th example of the same order, so that the workers together see what one device would.
    """

    workers: int = 1
    worker: int = 0
    replicas: int = 1  # of all workers
    by_file: bool = False


def dataset(data, config, *, training):
    """The input pipeline of a data set.

    Args:
      data: what `cache.records_of` takes: TFRecords, a folder of any known format, folder/split, or a Source.
      training: True for shuffled, augmented batches for `fit`, the incomplete last batch dropped; False for every
        example once, in order.
    Returns:
      tf.data.Dataset of known length. With training: (images float32 [B, H, W, 3], targets {'classes': int32 [B, A],
      'boxes': float32 [B, A, 4]}, weights {'classes': [B], 'boxes': [B]}), the weights 1 / (1 + positives in the batch).
      Without: (images, labels {'boxes': [B, M, 4] pixels of the original, 'classes': int32 [B, M] (-1 = padding),
      'crowd': bool [B, M], 'area': [B, M], 'scale': [B], 'id': int64 [B]}).
    Raises:
      DataError: no data, a fault in it, or fewer examples than one batch. While iterating: InvalidArgumentError naming the
      image whose label is not in the configuration's label_map.
    """
    files_or_dir = records_of(data)
    count, batch = records.count_examples(files_or_dir), config.train.batch_size
    if training and count < batch:
        raise DataError(
            f'{files_or_dir}: {count} examples, fewer than one batch of {batch}; lower train.batch_size'
        )
    if training:
        examples = _mixable(_examples(files_or_dir, config, config.train.seed), config)
        seeds = tf.data.Dataset.random(config.train.seed, rerandomize_each_iteration=True)
        batches = _training_batches(tf.data.Dataset.zip((examples, seeds)), config, batch)
        return batches.apply(tf.data.experimental.assert_cardinality(count // batch)).prefetch(
            AUTOTUNE
        )
    batches = (
        _examples(files_or_dir, config)
        .map(lambda e: _evaluation_example(e, config), AUTOTUNE)
        .padded_batch(batch, padding_values=_PADDING)
    )
    return batches.apply(tf.data.experimental.assert_cardinality(-(-count // batch))).prefetch(
        AUTOTUNE
    )


def steps_in_epoch(files_or_dir, config):
    """Steps of one epoch of `training_stream`: whole batches, and whole calls of `steps_per_execution` of them.

    Raises DataError where there is not one.
    """
    together = config.train.batch_size * config.train.steps_per_execution
    count = records.count_examples(files_or_dir)
    if count < together:
        raise DataError(
            f'{files_or_dir}: {count} examples, fewer than the {together} of train.batch_size * '
            'train.steps_per_execution; lower one of them'
        )
    return count // together * config.train.steps_per_execution


def training_stream(files_or_dir, config, first_epoch, share=Share()):  # noqa: B008
    """The batches of `dataset(training=True)` without end, for `fit(steps_per_epoch=steps_in_epoch(...))`.

    Order and augmentation of an epoch depend on train.seed and the epoch's number alone (counted from 0), so a training
    that starts at `first_epoch` sees what one from the start sees then. With a `share` batches are of batch_size / replicas
    images and have the weights of that part of the batch (`replicas.ReplicatedModel` corrects them).
    """
    batch, seed = config.train.batch_size, config.train.seed
    files = (
        records.record_files(files_or_dir)[share.worker :: share.workers] if share.by_file else None
    )
    per_epoch = (
        steps_in_epoch(files_or_dir, config) * batch // (share.workers if share.by_file else 1)
    )

    def one_epoch(number):
        tf.random.set_seed(
            seed + 1
        )  # of this function's graph only; 0 and a tensor as seed is an error
        examples = _examples(files_or_dir, config, number, reshuffle=False, files=files)
        return _mixable(examples.repeat() if share.by_file else examples, config).take(per_epoch)

    def draw(position):
        own = seed + (share.worker if share.by_file else 0)
        return tf.random.stateless_uniform([], tf.stack([own, position]), None, None, tf.int64)

    examples = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(one_epoch)
    seeds = tf.data.Dataset.range(first_epoch * per_epoch, tf.int64.max).map(draw)
    seeded = tf.data.Dataset.zip((examples, seeds))
    mine = seeded if share.by_file else seeded.shard(share.workers, share.worker)
    batches = _training_batches(mine, config, batch // share.replicas)
    return batches.apply(
        tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    ).prefetch(AUTOTUNE)


def validation_dataset(data, config):
    """(images, targets, weights) of every example once, not augmented: what `validation_data` wants."""
    files_or_dir = records_of(data)
    count, batch = records.count_examples(files_or_dir), config.train.batch_size
    encode = head_of(config).targets(config)

    def plain(example):
        image, boxes, classes, _ = plain_example(example, config)
        kept = augment.with_area(boxes) & ~example['crowd']
        return image, *encode(boxes[kept], classes[kept])

    batches = _with_weights(_examples(files_or_dir, config).map(plain, AUTOTUNE).batch(batch))
    return batches.apply(tf.data.experimental.assert_cardinality(-(-count // batch))).prefetch(
        AUTOTUNE
    )


def augmented(data, config):
    """What a network sees in training, for people to look at: (image float32 [height, width, 3], boxes [N, 4] in its pixels,
    classes [N]) of every example once, shuffled and augmented as `dataset` does."""
    examples = _mixable(_examples(records_of(data), config, config.train.seed), config)
    seeds = tf.data.Dataset.random(config.train.seed, rerandomize_each_iteration=True)
    return tf.data.Dataset.zip((examples, seeds)).map(
        lambda e, seed: augmented_example(e, seed, config), AUTOTUNE
    )


def _examples(files_or_dir, config, seed=None, reshuffle=True, files=None):
    """Examples of all files, or of `files`; shuffled where there is a seed, anew for each iteration if `reshuffle`."""
    ids = class_ids(config.model)
    records.check_labels(files_or_dir, config.model.label_map or dict.fromkeys(ids))
    files = files or records.record_files(files_or_dir)
    names = tf.data.Dataset.from_tensor_slices(files)
    if seed is not None:
        names = names.shuffle(len(files), seed, reshuffle)
    serialized = names.interleave(
        tf.data.TFRecordDataset, cycle_length=min(_READERS, len(files)), num_parallel_calls=AUTOTUNE
    )
    if seed is not None:
        serialized = serialized.shuffle(config.data.shuffle_buffer, seed, reshuffle)
    return serialized.map(lambda s: records.parse(s, ids), AUTOTUNE)


def _mixable(examples, config):
    """With partners, where examples are to be mixed."""
    return (
        augment.with_partners(examples)
        if config.data.mosaic_prob or config.data.mixup_prob
        else examples
    )


def _training_batches(seeded, config, batch):
    """(example, seed) -> (images, targets, weights), on a tf.data service where there is one."""
    encode = head_of(config).targets(config)

    def make(example, seed):
        image, boxes, classes = augmented_example(example, seed, config)
        return image, *encode(boxes, classes)

    examples = seeded.map(make, AUTOTUNE)
    if config.data.data_service:
        examples = examples.apply(
            tf.data.experimental.service.distribute(
                tf.data.experimental.service.ShardingPolicy.DYNAMIC, config.data.data_service
            )
        )
    return _with_weights(examples.batch(batch, drop_remainder=True))


def _with_weights(batches):
    def add(images, targets, positives):
        weight = tf.fill(tf.shape(positives), 1.0 / (1.0 + tf.reduce_sum(positives)))
        return images, targets, dict.fromkeys(targets, weight)

    return batches.map(add, AUTOTUNE)


# An int64 of numpy: workers cannot be joined once a tensor of TensorFlow exists.
_PADDING = (
    0.0,
    {'boxes': 0.0, 'classes': -1, 'crowd': False, 'area': 0.0, 'scale': 0.0, 'id': np.int64(0)},
)


def _evaluation_example(example, config):
    image, _, classes, scale = plain_example(example, config)
    return image, {
        'boxes': example['boxes'],
        'classes': classes,
        'crowd': example['crowd'],
        'area': example['area'],
        'scale': 1.0 / scale,
        'id': example['id'],
    }
