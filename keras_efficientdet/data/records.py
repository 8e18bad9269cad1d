"""TFRecord files read, ours and the official ones: where they are, what they hold, and the parser.

The functions take a place (a folder, a glob pattern, one path or a list of paths) or the Records
that `open_records` returns for it, which spares them from looking at the files again.
"""

import dataclasses
import functools
import json
import os
import pathlib

import tensorflow as tf

from keras_efficientdet.data.source import Change
from keras_efficientdet.errors import DataError, MissingRecordsError
from keras_efficientdet.ops import images
from keras_efficientdet.ops.class_masks import IGNORED

SUMMARY = 'dataset.json'
# A mask is a PNG, 0 background, 255 ignored, v the category id at v - 1 in the list.
MASK = 'image/segmentation/class/encoded'  # the name in TensorFlow's DeepLab
MASK_IDS = 'image/segmentation/class/ids'
_SIDES = ('ymin', 'xmin', 'ymax', 'xmax')


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """TFRecord files that were found at a place, which is what it is called in messages."""

    place: str
    files: tuple[str, ...]
    summary: dict  # what `write_records` left beside the files; empty where there is none

    @functools.cached_property
    def count(self) -> int:
        """Number of examples: from the summary, else by reading all files."""
        if self.summary:
            return self.summary['images']
        return sum(1 for _ in tf.data.TFRecordDataset(list(self.files)))

    def __str__(self):
        return self.place


Place = str | os.PathLike | list | tuple | Records


def open_records(place: Place) -> Records:
    """Finds the TFRecord files of a place. Raises MissingRecordsError if there are none."""
    if isinstance(place, Records):
        return place
    files = tuple(_found(place))
    return Records(_name_of(place), files, _read_summary(place))


def _name_of(place: str | os.PathLike | list | tuple) -> str:
    """A place as messages call it: of a long list, the first file."""
    if isinstance(place, list | tuple) and len(place) > 3:
        return f'{place[0]} and {len(place) - 1} more'
    return str(place)


def is_record_file(name: str) -> bool:
    """Whether a file name is that of TFRecords: x.tfrecord, x.tfrecord-00000-of-00010."""
    return '.tfrecord' in name


def holds_records(folder: pathlib.Path) -> bool:
    """Whether a folder has TFRecord files in it."""
    return any(is_record_file(path.name) for path in folder.iterdir())


def record_files(place: Place) -> list[str]:
    """The TFRecord files of a place, sorted. Raises MissingRecordsError if there are none."""
    return list(place.files) if isinstance(place, Records) else _found(place)


def summary_of(place: Place) -> dict | None:
    """The summary that `write_records` left in a folder, or None."""
    return (place.summary if isinstance(place, Records) else _read_summary(place)) or None


def count_examples(place: Place) -> int:
    """Number of examples: from the summary, else by reading all files."""
    return open_records(place).count


def _found(place):
    if isinstance(place, list | tuple):
        paths = [str(path) for path in place]
    elif pathlib.Path(place).is_dir():
        paths = [str(path) for path in pathlib.Path(place).iterdir() if is_record_file(path.name)]
    else:
        paths = tf.io.gfile.glob(str(place))
    if not paths:
        raise MissingRecordsError(
            f'{place}: no TFRecord files; make some with `efficientdet records`'
        )
    return sorted(paths)


def _read_summary(place):
    """The summary in a folder, with whole numbers as class ids; else an empty dict."""
    if isinstance(place, list | tuple):
        return {}
    path = pathlib.Path(place) / SUMMARY
    if not path.is_file():
        return {}
    summary = json.loads(path.read_text(encoding='utf-8'))
    label_map = {int(i): name for i, name in summary['label_map'].items()}
    changes = {_change(text): count for text, count in summary.get('changes', {}).items()}
    return {**summary, 'label_map': label_map, 'changes': changes}


def _change(text):
    """The Change of a text; a text that only another version has stays as it is."""
    return Change(text) if text in set(Change) else text


def check_labels(place: Place, label_map) -> None:
    """Holds the classes in the summary of records against those of a configuration.

    Args:
      label_map: {id: name} of the configuration; a name of None fits any name.
    Raises:
      DataError: the records have a class that `label_map` lacks, under another id, or under
        another name.
    """
    stored = (summary_of(place) or {}).get('label_map', {})
    unknown = {i: name for i, name in stored.items() if i not in label_map}
    if unknown:
        raise DataError(
            f'{place}: the records hold classes {unknown}, but the configuration has only the ids '
            f'{str(list(label_map))[:200]}; set label_map and num_classes (label_overrides gives '
            'both)'
        )
    ids = {name: i for i, name in label_map.items()}
    for i, name in stored.items():
        if ids.get(name, i) != i:
            raise DataError(
                f'{place}: class {name!r} has id {i} in these records, and id {ids[name]} in the '
                'configuration; use the same ids in both (the readers take a label_map)'
            )
    for i, name in stored.items():
        if label_map[i] not in (None, name):
            raise DataError(
                f'{place}: id {i} is class {name!r} in these records, and {label_map[i]!r} in the '
                'configuration; use the same name in both, or different ids (the readers take a '
                'label_map)'
            )


_SCHEMA = {
    'image/encoded': tf.io.FixedLenFeature([], tf.string),
    'image/source_id': tf.io.FixedLenFeature([], tf.string, ''),
    'image/object/class/label': tf.io.VarLenFeature(tf.int64),
    'image/object/is_crowd': tf.io.VarLenFeature(tf.int64),
    'image/object/area': tf.io.VarLenFeature(tf.float32),
    MASK: tf.io.FixedLenFeature([], tf.string, ''),
    MASK_IDS: tf.io.VarLenFeature(tf.int64),
    **{f'image/object/bbox/{side}': tf.io.VarLenFeature(tf.float32) for side in _SIDES},
}


def parse(
    serialized: tf.Tensor, class_ids: tuple[int, ...], masks: bool = False
) -> dict[str, tf.Tensor]:
    """One serialized record -> an example.

    Args:
      serialized: string scalar.
      class_ids: the category ids in class order.
      masks: whether to read masks.
    Returns:
      dict of image uint8 [H, W, 3], boxes float32 [N, 4] (ymin, xmin, ymax, xmax in pixels),
      classes int32 [N] (from 0 on), id int64 scalar, crowd bool [N], area float32 [N] in pixels;
      with `masks` also mask uint8 [H, W, 1] (`ops.class_masks`).
    Raises:
      InvalidArgumentError: a label that is not among class_ids, or no mask; the message names the
        image.
    """
    parsed = tf.io.parse_single_example(serialized, _SCHEMA)
    record = {
        key: tf.sparse.to_dense(value) if isinstance(value, tf.SparseTensor) else value
        for key, value in parsed.items()
    }
    image = images.decode(record['image/encoded'])
    size = tf.cast(tf.tile(tf.shape(image)[:2], [2]), tf.float32)
    boxes = size * tf.stack([record[f'image/object/bbox/{side}'] for side in _SIDES], -1)
    count = tf.shape(boxes)[0]
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = record['image/object/area']
    example = {
        'image': image,
        'boxes': boxes,
        'classes': _known(record, record['image/object/class/label'], class_ids),
        'id': _numeric_id(record),
        'crowd': tf.cast(_or_default(record['image/object/is_crowd'], count, 0), tf.bool),
        'area': tf.where(
            tf.size(areas) == count, _or_default(areas, count, 0.0), sides[:, 0] * sides[:, 1]
        ),
    }
    return {**example, 'mask': _mask(record, class_ids)} if masks else example


def _mask(record, class_ids):
    """uint8 [H, W, 1]. The record numbers classes by its own list of category ids."""
    found = tf.debugging.Assert(
        tf.not_equal(record[MASK], ''),
        ['image', record['image/source_id'], 'has no mask; write the records with masks'],
    )
    with tf.control_dependencies([found]):
        stored = tf.io.decode_png(record[MASK], 1)
    classes = _known(record, record[MASK_IDS], class_ids) + 1
    unused = tf.fill([IGNORED - tf.size(classes)], IGNORED)
    table = tf.concat([[0], classes, unused], 0)
    return tf.cast(tf.gather(table, tf.cast(stored, tf.int32)), tf.uint8)


def _or_default(values, count, default):
    """`values` if there are `count` of them, else that many defaults.

    Official VOC files have no is_crowd.
    """
    return tf.cond(
        tf.size(values) == count,
        lambda: values,
        lambda: tf.fill([count], tf.constant(default, values.dtype)),
    )


def _known(record, labels, class_ids):
    """int32: category ids -> class ids."""
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant(class_ids, tf.int64), tf.range(len(class_ids))
        ),
        default_value=-1,
    )
    classes = table.lookup(labels)
    known = tf.debugging.Assert(
        tf.reduce_all(classes >= 0),
        [
            'image',
            record['image/source_id'],
            'has labels',
            labels,
            'but the configuration has only',
            str(list(class_ids))[:200],
            '- set label_map and num_classes to the ids of this data set',
        ],
        summarize=20,
    )
    with tf.control_dependencies([known]):
        return tf.identity(classes)


def image_id(serialized: tf.Tensor) -> tf.Tensor:
    """The int64 id that `parse` gives to a serialized record, without decoding its image."""
    schema = {key: _SCHEMA[key] for key in ('image/encoded', 'image/source_id')}
    return _numeric_id(tf.io.parse_single_example(serialized, schema))


def _numeric_id(record):
    """int64: the source id if it is a number, else a hash of it, or of the image if it is empty."""
    name = record['image/source_id']
    is_number = tf.strings.regex_full_match(name, '-?[0-9]{1,18}')
    text = tf.where(tf.equal(name, ''), record['image/encoded'], name)
    return tf.where(
        is_number,
        tf.strings.to_number(tf.where(is_number, name, '0'), tf.int64),
        tf.strings.to_hash_bucket_fast(text, 2**62),
    )
