"""records -> examples -> batches -> (images, targets, weights) for `fit`, or (images, labels) for evaluation."""
import tensorflow as tf

from keras_efficientdet import augment, images, records
from keras_efficientdet.cache import records_of
from keras_efficientdet.config import class_ids
from keras_efficientdet.models import head_of

AUTOTUNE = tf.data.AUTOTUNE
_READERS = 8


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
        raise records.DataError(f'{files_or_dir}: {count} examples, fewer than one batch of {batch}; lower train.batch_size')
    examples = _examples(files_or_dir, config, shuffle=training)
    if training:
        batches = _with_weights(_training_examples(examples, config).batch(batch, drop_remainder=True))
        return batches.apply(tf.data.experimental.assert_cardinality(count // batch)).prefetch(AUTOTUNE)
    batches = examples.map(lambda e: _evaluation_example(e, config), AUTOTUNE).padded_batch(
        batch, padding_values=_PADDING)
    return batches.apply(tf.data.experimental.assert_cardinality(-(-count // batch))).prefetch(AUTOTUNE)


def steps_in_epoch(files_or_dir, config):
    """Steps of one epoch of `training_stream`: whole batches, and whole calls of `steps_per_execution` of them.

    Raises DataError where there is not one.
    """
    together = config.train.batch_size * config.train.steps_per_execution
    count = records.count_examples(files_or_dir)
    if count < together:
        raise records.DataError(f'{files_or_dir}: {count} examples, fewer than the {together} of train.batch_size * '
                                'train.steps_per_execution; lower one of them')
    return count // together * config.train.steps_per_execution


def training_stream(files_or_dir, config, first_epoch):
    """The batches of `dataset(training=True)` without end, for `fit(steps_per_epoch=steps_in_epoch(...))`.

    Order and augmentation of an epoch depend on train.seed and the epoch's number alone (counted from 0), so a training
    that starts at `first_epoch` sees what one from the start sees then.
    """
    ids, batch = class_ids(config.model), config.train.batch_size
    records.check_labels(files_or_dir, config.model.label_map or dict.fromkeys(ids))
    per_epoch = steps_in_epoch(files_or_dir, config) * batch

    def one_epoch(number):
        tf.random.set_seed(config.train.seed + 1)     # of this function's graph only; 0 and a tensor as seed is an error
        return _serialized(files_or_dir, config, number, reshuffle=False).take(per_epoch)

    def seed(position):
        return tf.random.stateless_uniform([], tf.stack([config.train.seed, position]), None, None, tf.int64)

    examples = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(one_epoch)
    seeds = tf.data.Dataset.range(first_epoch * per_epoch, tf.int64.max).map(seed)
    made = _training_examples(examples.map(lambda s: records.parse(s, ids), AUTOTUNE), config, seeds)
    batches = _with_weights(made.batch(batch, drop_remainder=True))
    return batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)).prefetch(AUTOTUNE)


def validation_dataset(data, config):
    """(images, targets, weights) of every example once, not augmented: what `validation_data` wants."""
    files_or_dir = records_of(data)
    count, batch = records.count_examples(files_or_dir), config.train.batch_size
    encode = head_of(config).targets(config)

    def plain(example):
        image, boxes, classes, _ = _resized(example, config)
        kept = augment.with_area(boxes) & ~example['crowd']
        return image, *encode(boxes[kept], classes[kept])

    batches = _with_weights(_examples(files_or_dir, config, shuffle=False).map(plain, AUTOTUNE).batch(batch))
    return batches.apply(tf.data.experimental.assert_cardinality(-(-count // batch))).prefetch(AUTOTUNE)


def _examples(files_or_dir, config, shuffle):
    ids = class_ids(config.model)
    records.check_labels(files_or_dir, config.model.label_map or dict.fromkeys(ids))
    serialized = _serialized(files_or_dir, config, config.train.seed if shuffle else None)
    return serialized.map(lambda s: records.parse(s, ids), AUTOTUNE)


def _serialized(files_or_dir, config, seed, reshuffle=True):
    """Examples as they are in the files; shuffled where there is a seed, anew for each iteration if `reshuffle`."""
    files = records.record_files(files_or_dir)
    names = tf.data.Dataset.from_tensor_slices(files)
    if seed is not None:
        names = names.shuffle(len(files), seed, reshuffle)
    serialized = names.interleave(tf.data.TFRecordDataset, cycle_length=min(_READERS, len(files)), num_parallel_calls=AUTOTUNE)
    return serialized if seed is None else serialized.shuffle(config.data.shuffle_buffer, seed, reshuffle)


def _training_examples(examples, config, seeds=None):
    """(image, targets, positives); each example gets random numbers of its own, the same whatever thread maps it."""
    encode = head_of(config).targets(config)
    if seeds is None:
        seeds = tf.data.Dataset.random(config.train.seed, rerandomize_each_iteration=True)
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
    image = images.resize_and_pad(images.normalize(picture, config.model.mean_rgb, config.model.stddev_rgb), size, scale)
    scaled = images.scaled_size(image_hw, scale)
    return image, augment.move_boxes(example['boxes'], image_hw, scaled, tf.constant([0, 0]), size), example['classes'], scale
