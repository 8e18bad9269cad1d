"""records -> examples -> batches.

Batches are (images, targets, weights) for `fit`, or (images, labels) for evaluation.
"""

import math
import typing

import numpy as np
import tensorflow as tf

from keras_efficientdet.config import Config, class_ids
from keras_efficientdet.data import augment, records
from keras_efficientdet.data.cache import records_of
from keras_efficientdet.data.data_set import Data
from keras_efficientdet.data.example import augmented_example, learnable, plain_example
from keras_efficientdet.errors import DataError
from keras_efficientdet.network.heads import has_masks, head_of
from keras_efficientdet.ops.class_masks import IGNORED

AUTOTUNE = tf.data.AUTOTUNE
_READERS = 8


class Share(typing.NamedTuple):
    """The part of the training data that one of several workers reads, batched for its replicas.

    By file, a worker reads every `workers`-th file, and repeats examples if its files hold fewer
    than those of others. Otherwise it reads every `workers`-th example of one common order, so that
    all workers together see what one device would.
    """

    workers: int = 1
    worker: int = 0
    replicas: int = 1  # of all workers
    by_file: bool = False


def dataset(data: Data, config: Config, *, training: bool) -> tf.data.Dataset:
    """The input pipeline of a data set.

    Args:
      data: what `cache.records_of` takes: TFRecords, a folder of any known format, folder/split, or
        a Source.
      config: Config.
      training: True for shuffled, augmented batches for `fit`, without an incomplete last batch;
        False for every example once, in order.
    Returns:
      tf.data.Dataset of known length.
      With training: (images float32 [B, H, W, 3], targets {'classes': int32 [B, A], 'boxes':
      float32 [B, A, 4]}, weights {'classes': float32 [B], 'boxes': float32 [B]}); each weight is
      1 / (1 + positive anchors in the batch).
      Without: (images, labels {'boxes': float32 [B, M, 4] (ymin, xmin, ymax, xmax in pixels of the
      original image), 'classes': int32 [B, M] (-1 = padding), 'crowd': bool [B, M], 'area': float32
      [B, M], 'scale': float32 [B], 'id': int64 [B]}); of a head with masks also
      'mask': uint8 [B, H, W, 1] in pixels of the original image, 255 = ignored or padding.
    Raises:
      DataError: there is no data, it has a fault, or it has fewer examples than one batch.
      InvalidArgumentError: during iteration; names the image whose label is not in the
        configuration's label_map.
    """
    found = records.open_records(records_of(data, masks=has_masks(config)))
    batch = config.train.batch_size
    if training and found.count < batch:
        raise DataError(
            f'{found}: {found.count} examples, fewer than one batch of {batch}; lower '
            'train.batch_size'
        )
    if training:
        examples = _mixable(_examples(found, config, config.train.seed), config)
        seeds = tf.data.Dataset.random(config.train.seed, rerandomize_each_iteration=True)
        batches = _training_batches(tf.data.Dataset.zip((examples, seeds)), config, batch)
        return _of_length(batches, found.count // batch)
    examples = _examples(found, config).map(lambda e: _evaluation_example(e, config), AUTOTUNE)
    labels = examples.element_spec[1]
    padding = 0.0, {name: _PADDING[name] for name in labels}
    batches = examples.padded_batch(batch, padding_values=padding)
    return _of_length(batches, math.ceil(found.count / batch))


def steps_in_epoch(place: records.Place, config: Config) -> int:
    """Steps of one epoch of `training_stream`, a multiple of `steps_per_execution`.

    Raises DataError if the examples are fewer than steps_per_execution batches.
    """
    together = config.train.batch_size * config.train.steps_per_execution
    count = records.count_examples(place)
    if count < together:
        raise DataError(
            f'{place}: {count} examples, fewer than train.batch_size * '
            f'train.steps_per_execution = {together}; lower one of them'
        )
    return count // together * config.train.steps_per_execution


def training_stream(
    place: records.Place,
    config: Config,
    first_epoch: int,
    share: Share = Share(),  # noqa: B008
) -> tf.data.Dataset:
    """The batches of `dataset(training=True)` without end, `steps_in_epoch` of them per epoch.

    Order and augmentation of an epoch depend only on train.seed and the epoch's number (from 0 on):
    a training that is resumed at `first_epoch` sees what an uninterrupted one would.

    With a `share`, a batch has batch_size / replicas images, and weights that count only its own
    positive anchors (`DetectionModel` corrects them).
    """
    batch, seed = config.train.batch_size, config.train.seed
    found = records.open_records(place)
    per_epoch = steps_in_epoch(found, config) * batch
    files = None
    if share.by_file:
        files = list(found.files)[share.worker :: share.workers]
        per_epoch //= share.workers

    def one_epoch(number):
        # Set for the graph of this function only. A tensor (`number`) as the seed of an operation
        # is an error where the graph's seed is 0, hence + 1.
        tf.random.set_seed(seed + 1)
        examples = _examples(found, config, number, reshuffle=False, files=files)
        return _mixable(examples.repeat() if share.by_file else examples, config).take(per_epoch)

    def draw(position):
        own = seed + (share.worker if share.by_file else 0)
        return tf.random.stateless_uniform([], tf.stack([own, position]), None, None, tf.int64)

    examples = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(one_epoch)
    seeds = tf.data.Dataset.range(first_epoch * per_epoch, tf.int64.max).map(draw)
    seeded = tf.data.Dataset.zip((examples, seeds))
    mine = seeded if share.by_file else seeded.shard(share.workers, share.worker)
    batches = _training_batches(mine, config, batch // share.replicas)
    return _of_length(batches, tf.data.INFINITE_CARDINALITY)


def validation_dataset(data: Data, config: Config) -> tf.data.Dataset:
    """What Keras takes as `validation_data`: every example once, in order, not augmented.

    Args:
      data: as of `dataset`.
    Returns:
      tf.data.Dataset of known length of (images, targets, weights), as `dataset` with training;
      boxes of crowds and without area are left out.
    Raises:
      DataError: there is no data, or it has a fault.
    """
    found = records.open_records(records_of(data, masks=has_masks(config)))
    encode = _encoder(config)

    def plain(example):
        example, _ = plain_example(example, config)
        kept = learnable(example, config) & ~example['crowd']
        return encode(augment.select(example, kept))

    batches = _with_weights(
        _examples(found, config).map(plain, AUTOTUNE).batch(config.train.batch_size),
        head_of(config).weights,
    )
    return _of_length(batches, math.ceil(found.count / config.train.batch_size))


def augmented(data: Data, config: Config) -> tf.data.Dataset:
    """Every example once, shuffled and augmented as for training, for people to look at.

    Returns:
      tf.data.Dataset of (image float32 [height, width, 3], boxes float32 [N, 4] in its pixels,
      classes int32 [N]).
    """
    found = records.open_records(records_of(data, masks=has_masks(config)))
    examples = _mixable(_examples(found, config, config.train.seed), config)
    seeds = tf.data.Dataset.random(config.train.seed, rerandomize_each_iteration=True)

    def shown(example, seed):
        example = augmented_example(example, seed, config)
        return example['image'], example['boxes'], example['classes']

    return tf.data.Dataset.zip((examples, seeds)).map(shown, AUTOTUNE)


def _of_length(batches, count):
    """The batches with their number declared, prefetched."""
    return batches.apply(tf.data.experimental.assert_cardinality(count)).prefetch(AUTOTUNE)


def _examples(found, config, seed=None, reshuffle=True, files=None):
    """Examples of all files, or of `files`.

    With a seed they are shuffled, in a new order for each iteration if `reshuffle`.
    """
    ids = class_ids(config.model)
    records.check_labels(found, config.model.label_map or dict.fromkeys(ids))
    files = files or list(found.files)
    names = tf.data.Dataset.from_tensor_slices(files)
    if seed is not None:
        names = names.shuffle(len(files), seed, reshuffle)
    serialized = names.interleave(
        tf.data.TFRecordDataset, cycle_length=min(_READERS, len(files)), num_parallel_calls=AUTOTUNE
    )
    if seed is not None:
        serialized = serialized.shuffle(config.data.shuffle_buffer, seed, reshuffle)
    masks = has_masks(config)
    return serialized.map(lambda s: records.parse(s, ids, masks), AUTOTUNE)


def _mixable(examples, config):
    """The examples, each with its partners if the configuration mixes examples."""
    if config.data.mosaic_prob or config.data.mixup_prob:
        return augment.with_partners(examples)
    return examples


def _training_batches(seeded, config, batch):
    """(example, seed) -> (images, targets, weights); on a tf.data service if one is configured."""
    encode = _encoder(config)

    def make(example, seed):
        return encode(augmented_example(example, seed, config))

    examples = seeded.map(make, AUTOTUNE)
    if config.data.data_service:
        examples = examples.apply(
            tf.data.experimental.service.distribute(
                tf.data.experimental.service.ShardingPolicy.DYNAMIC, config.data.data_service
            )
        )
    return _with_weights(examples.batch(batch, drop_remainder=True), head_of(config).weights)


def _encoder(config):
    """A function: an example -> its image, targets and positives."""
    head = head_of(config)
    encode = head.targets(config)

    def encoded(example):
        others = {name: example[name] for name in head.annotations}
        return example['image'], *encode(example['boxes'], example['classes'], **others)

    return encoded


def _with_weights(batches, weights):
    def add(images, targets, positives):
        counts = tf.nest.map_structure(tf.reduce_sum, positives)
        of_batch = weights(counts, targets).items()
        batch = tf.shape(images)[:1]
        return images, targets, {name: tf.fill(batch, weight) for name, weight in of_batch}

    return batches.map(add, AUTOTUNE)


# The id is an int64 of numpy, not of TensorFlow: workers cannot be joined once a tensor exists.
_PADDING = {
    'boxes': 0.0,
    'classes': -1,
    'crowd': False,
    'area': 0.0,
    'scale': 0.0,
    'id': np.int64(0),
    'mask': np.uint8(IGNORED),
}


def _evaluation_example(example, config):
    prepared, scale = plain_example(example, config)
    labels = {name: value for name, value in example.items() if name != 'image'}
    return prepared['image'], {**labels, 'scale': 1.0 / scale}
