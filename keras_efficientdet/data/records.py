"""What a data set is (Photo, Source), and TFRecord files read: ours and the official ones."""

import json
import pathlib

import tensorflow as tf

from keras_efficientdet.data.source import Change
from keras_efficientdet.errors import DataError, MissingRecordsError
from keras_efficientdet.ops import images

SUMMARY = 'dataset.json'


def record_files(files_or_dir):
    """The TFRecord files of a folder, a glob pattern, one path or a list of paths, sorted. Raises
    MissingRecordsError if there are none."""
    if isinstance(files_or_dir, list | tuple):
        paths = [str(p) for p in files_or_dir]
    elif pathlib.Path(files_or_dir).is_dir():
        paths = [str(p) for p in pathlib.Path(files_or_dir).iterdir() if '.tfrecord' in p.name]
    else:
        paths = tf.io.gfile.glob(str(files_or_dir))
    if not paths:
        raise MissingRecordsError(
            f'{files_or_dir}: no TFRecord files; make some with tools/make_records.py'
        )
    return sorted(paths)


def summary_of(files_or_dir):
    """The summary that `write_records` left in a folder, or None."""
    path = pathlib.Path(str(files_or_dir)) / SUMMARY
    if not path.is_file():
        return None
    summary = json.loads(path.read_text())
    label_map = {int(i): name for i, name in summary['label_map'].items()}
    changes = {_change(text): count for text, count in summary.get('changes', {}).items()}
    return {**summary, 'label_map': label_map, 'changes': changes}


def _change(text):
    """The Change of a text; a text that only another version knows stays as it is."""
    return Change(text) if text in set(Change) else text


def check_labels(files_or_dir, label_map):
    """Raises DataError where the summary of the records lists classes that `label_map` {id: name} lacks, numbers otherwise or
    calls otherwise. A name of None goes with any."""
    summary = summary_of(files_or_dir) or {'label_map': {}}
    unknown = {i: name for i, name in summary['label_map'].items() if i not in label_map}
    if unknown:
        raise DataError(
            f'{files_or_dir}: the records hold classes {unknown}, but the configuration knows only the ids '
            f'{str(list(label_map))[:200]}; set label_map and num_classes (label_overrides gives both)'
        )
    ids = {name: i for i, name in label_map.items()}
    moved = {name: i for i, name in summary['label_map'].items() if ids.get(name, i) != i}
    for name, i in moved.items():
        raise DataError(
            f'{files_or_dir}: class {name!r} has id {i} in these records, and id {ids[name]} in the configuration; '
            'number both alike (the readers take a label_map)'
        )
    for i, name in summary['label_map'].items():
        if label_map[i] not in (None, name):
            raise DataError(
                f'{files_or_dir}: id {i} is class {name!r} in these records, and {label_map[i]!r} in the '
                'configuration; call both alike, or number them apart (the readers take a label_map)'
            )


def count_examples(files_or_dir):
    """Number of examples: from the summary, else by reading the files through."""
    summary = summary_of(files_or_dir)
    return (
        summary['images']
        if summary
        else sum(1 for _ in tf.data.TFRecordDataset(record_files(files_or_dir)))
    )


_SCHEMA = {
    'image/encoded': tf.io.FixedLenFeature([], tf.string),
    'image/source_id': tf.io.FixedLenFeature([], tf.string, ''),
    'image/object/class/label': tf.io.VarLenFeature(tf.int64),
    'image/object/is_crowd': tf.io.VarLenFeature(tf.int64),
    'image/object/area': tf.io.VarLenFeature(tf.float32),
    **{
        f'image/object/bbox/{side}': tf.io.VarLenFeature(tf.float32)
        for side in ('ymin', 'xmin', 'ymax', 'xmax')
    },
}


def parse(serialized, class_ids):
    """One record -> example: image uint8 [H, W, 3], boxes float32 [N, 4] pixels, classes int32 [N] 0-based, id int64,
    crowd bool [N], area float32 [N] pixels.

    `class_ids` lists the data set's own ids in class order; a label that is not among them fails, naming the image.
    """
    record = {
        k: tf.sparse.to_dense(v) if isinstance(v, tf.SparseTensor) else v
        for k, v in tf.io.parse_single_example(serialized, _SCHEMA).items()
    }
    image = images.decode(record['image/encoded'])
    size = tf.cast(tf.tile(tf.shape(image)[:2], [2]), tf.float32)
    boxes = (
        tf.stack(
            [record[f'image/object/bbox/{side}'] for side in ('ymin', 'xmin', 'ymax', 'xmax')], -1
        )
        * size
    )
    count = tf.shape(boxes)[0]
    sides = boxes[:, 2:] - boxes[:, :2]
    stored = record['image/object/area']
    return {
        'image': image,
        'boxes': boxes,
        'classes': _classes(record, class_ids),
        'id': _numeric_id(record),
        'crowd': tf.cast(_or_default(record['image/object/is_crowd'], count, 0), tf.bool),
        'area': tf.where(
            tf.size(stored) == count, _or_default(stored, count, 0.0), sides[:, 0] * sides[:, 1]
        ),
    }


def _or_default(values, count, default):
    """`values` where there are `count` of them, else that many defaults: official VOC files have no is_crowd."""
    return tf.cond(
        tf.size(values) == count,
        lambda: values,
        lambda: tf.fill([count], tf.constant(default, values.dtype)),
    )


def _classes(record, class_ids):
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant(class_ids, tf.int64), tf.range(len(class_ids))
        ),
        default_value=-1,
    )
    labels = record['image/object/class/label']
    classes = table.lookup(labels)
    known = tf.debugging.Assert(
        tf.reduce_all(classes >= 0),
        [
            'image',
            record['image/source_id'],
            'has labels',
            labels,
            'but the configuration knows only',
            str(list(class_ids))[:200],
            '- set label_map and num_classes to the ids of this data set',
        ],
        summarize=20,
    )
    with tf.control_dependencies([known]):
        return tf.identity(classes)


def _numeric_id(record):
    """int64: the source id where it is a number, else a hash of it (of the picture, where it is empty)."""
    name = record['image/source_id']
    is_number = tf.strings.regex_full_match(name, '-?[0-9]{1,18}')
    text = tf.where(tf.equal(name, ''), record['image/encoded'], name)
    return tf.where(
        is_number,
        tf.strings.to_number(tf.where(is_number, name, '0'), tf.int64),
        tf.strings.to_hash_bucket_fast(text, 2**62),
    )
