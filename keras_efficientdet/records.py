"""Photos with boxes <-> TFRecord files with the official feature names, so that official files can be read too."""
import collections
import dataclasses
import hashlib
import io
import json
import os
import pathlib
import shutil

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps
from tqdm import tqdm

from keras_efficientdet import images

SUMMARY = 'dataset.json'
PHOTOS_PER_SHARD = 250
_ORIENTATION = 0x0112


class DataError(ValueError):
    """A data set has a fault; the message names the file or key, what was found and what was expected."""


@dataclasses.dataclass(frozen=True)
class Photo:
    """A picture on disk with what is known of it. boxes [N, 4] ymin xmin ymax xmax in pixels; ids are the data set's own."""
    path: pathlib.Path
    id: int | str
    height: int
    width: int
    boxes: np.ndarray
    ids: tuple
    areas: tuple
    crowd: tuple


@dataclasses.dataclass(frozen=True)
class Source:
    """What a data format yields: the photos, {own id: name} in class order, and counts of what was changed."""
    photos: list
    label_map: dict
    changes: dict


def write_records(source, output_dir, *, progress=True):
    """Writes a Source as sharded TFRecords beside a summary (dataset.json).

    All pictures are decoded once, so that a broken file is found now and not after hours of training. JPEG and PNG files
    are stored as they are; others, and those turned by EXIF, are stored as PNG.

    Returns:
      the summary: images, boxes, boxes_per_class, label_map and what was changed.
    Raises:
      DataError: no photos; a picture is missing, broken, or of another size than its annotation; the folder exists.
        Nothing is left in output_dir then.
    """
    output_dir = pathlib.Path(output_dir)
    if output_dir.exists():
        raise DataError(f'{output_dir} exists; remove it or choose another folder')
    if not source.photos:
        raise DataError('the data set lists no images')
    working = output_dir.with_name(f'{output_dir.name}.writing-{os.getpid()}')
    working.mkdir(parents=True)
    try:
        summary = _write(source, working, progress)
        (working / SUMMARY).write_text(json.dumps(summary, indent=1))
        working.rename(output_dir)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return summary


def _write(source, folder, progress):
    shards = -(-len(source.photos) // PHOTOS_PER_SHARD)
    changes, per_class = collections.Counter(source.changes), collections.Counter()
    writers = [tf.io.TFRecordWriter(str(folder / f'{i:05d}-of-{shards:05d}.tfrecord')) for i in range(shards)]
    for i, photo in enumerate(tqdm(source.photos, desc='writing records', unit=' images', disable=not progress)):
        encoded, kind = _encoded(photo)
        changes['pictures stored as PNG'] += int(kind == 'png' and not str(photo.path).lower().endswith('.png'))
        writers[i % shards].write(_example(photo, encoded, kind, source.label_map).SerializeToString())
        per_class.update(photo.ids)
    for writer in writers:
        writer.close()
    return {'images': len(source.photos), 'boxes': sum(per_class.values()),
            'images_without_boxes': sum(not p.ids for p in source.photos), 'label_map': source.label_map,
            'boxes_per_class': {name: per_class[i] for i, name in source.label_map.items()},
            'crowd_boxes': sum(sum(p.crowd) for p in source.photos), 'changes': {k: n for k, n in changes.items() if n}}


def _encoded(photo):
    """(bytes, 'jpeg' or 'png') that decode to the pixels which the boxes refer to."""
    try:
        data = photo.path.read_bytes()
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except (OSError, SyntaxError) as error:
        raise DataError(f'{photo.path}: cannot be read as a picture: {error}') from error
    upright = picture
    if picture.getexif().get(_ORIENTATION, 1) != 1:
        turned = ImageOps.exif_transpose(picture)
        upright = turned if turned.size == (photo.width, photo.height) else picture
    if upright.size != (photo.width, photo.height):
        raise DataError(f'{photo.path}: the picture is {upright.width}x{upright.height} (width x height), its annotation says '
                        f'{photo.width}x{photo.height}')
    if upright is picture and picture.mode in ('RGB', 'L') and picture.format in ('JPEG', 'PNG') and _decodes(data):
        return data, picture.format.lower()
    buffer = io.BytesIO()
    rgb(upright).save(buffer, 'PNG')
    return buffer.getvalue(), 'png'


def _decodes(data):
    """Whether TensorFlow reads it too: Pillow forgives a missing end of file, which would stop a training."""
    try:
        return images.decode(data) is not None
    except tf.errors.InvalidArgumentError:
        return False


def rgb(picture):
    """A PIL picture as 8-bit RGB. Pillow itself cuts 16-bit grey at 255, which leaves a white picture."""
    return (picture.point(lambda v: v / 256) if picture.mode.startswith('I') else picture).convert('RGB')


def _example(photo, encoded, kind, label_map):
    normalized = np.asarray(photo.boxes) / [photo.height, photo.width, photo.height, photo.width]
    sides = dict(zip(('ymin', 'xmin', 'ymax', 'xmax'), normalized.T, strict=True))
    features = {
        'image/encoded': [encoded], 'image/format': [kind.encode()], 'image/filename': [photo.path.name.encode()],
        'image/source_id': [str(photo.id).encode()], 'image/key/sha256': [hashlib.sha256(encoded).hexdigest().encode()],
        'image/height': [photo.height], 'image/width': [photo.width],
        'image/object/class/label': [int(i) for i in photo.ids],
        'image/object/class/text': [label_map[i].encode() for i in photo.ids],
        'image/object/is_crowd': [int(c) for c in photo.crowd],
        'image/object/area': np.asarray(photo.areas, float), **{f'image/object/bbox/{k}': v for k, v in sides.items()}}
    return tf.train.Example(features=tf.train.Features(feature={k: _feature(v) for k, v in features.items()}))


def _feature(values):
    if not len(values):                     # of no type: an empty float list would not parse as the labels of no boxes
        return tf.train.Feature()
    if isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if isinstance(values[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def record_files(files_or_dir):
    """The TFRecord files of a folder, a glob pattern, one path or a list of paths, sorted. Raises DataError if there are none."""
    if isinstance(files_or_dir, list | tuple):
        paths = [str(p) for p in files_or_dir]
    elif pathlib.Path(files_or_dir).is_dir():
        paths = [str(p) for p in pathlib.Path(files_or_dir).iterdir() if '.tfrecord' in p.name]
    else:
        paths = tf.io.gfile.glob(str(files_or_dir))
    if not paths:
        raise DataError(f'{files_or_dir}: no TFRecord files; make some with tools/make_records.py')
    return sorted(paths)


def summary_of(files_or_dir):
    """The summary that `write_records` left in a folder, or None."""
    path = pathlib.Path(str(files_or_dir)) / SUMMARY
    if not path.is_file():
        return None
    summary = json.loads(path.read_text())
    return {**summary, 'label_map': {int(k): v for k, v in summary['label_map'].items()}}


def label_overrides(files_or_dir):
    """What a configuration for these records has to know of their classes: {'model': {label_map, num_classes}}, or {}."""
    summary = summary_of(files_or_dir)
    return {'model': {'label_map': summary['label_map'], 'num_classes': len(summary['label_map'])}} if summary else {}


def check_labels(files_or_dir, class_ids):
    """Raises DataError where the summary of the records lists classes that are not among `class_ids`."""
    summary = summary_of(files_or_dir) or {'label_map': {}}
    unknown = {i: name for i, name in summary['label_map'].items() if i not in class_ids}
    if unknown:
        raise DataError(f'{files_or_dir}: the records hold classes {unknown}, but the configuration knows only the ids '
                        f'{str(list(class_ids))[:200]}; set label_map and num_classes (records.label_overrides gives both)')


def count_examples(files_or_dir):
    """Number of examples: from the summary, else by reading the files through."""
    summary = summary_of(files_or_dir)
    return summary['images'] if summary else sum(1 for _ in tf.data.TFRecordDataset(record_files(files_or_dir)))


_SCHEMA = {
    'image/encoded': tf.io.FixedLenFeature([], tf.string), 'image/source_id': tf.io.FixedLenFeature([], tf.string, ''),
    'image/object/class/label': tf.io.VarLenFeature(tf.int64), 'image/object/is_crowd': tf.io.VarLenFeature(tf.int64),
    'image/object/area': tf.io.VarLenFeature(tf.float32),
    **{f'image/object/bbox/{side}': tf.io.VarLenFeature(tf.float32) for side in ('ymin', 'xmin', 'ymax', 'xmax')},
}


def parse(serialized, class_ids):
    """One record -> example: image uint8 [H, W, 3], boxes float32 [N, 4] pixels, classes int32 [N] 0-based, id int64,
    crowd bool [N], area float32 [N] pixels.

    `class_ids` lists the data set's own ids in class order; a label that is not among them fails, naming the image.
    """
    record = {k: tf.sparse.to_dense(v) if isinstance(v, tf.SparseTensor) else v
              for k, v in tf.io.parse_single_example(serialized, _SCHEMA).items()}
    image = images.decode(record['image/encoded'])
    size = tf.cast(tf.tile(tf.shape(image)[:2], [2]), tf.float32)
    boxes = tf.stack([record[f'image/object/bbox/{side}'] for side in ('ymin', 'xmin', 'ymax', 'xmax')], -1) * size
    count = tf.shape(boxes)[0]
    sides = boxes[:, 2:] - boxes[:, :2]
    stored = record['image/object/area']
    return {'image': image, 'boxes': boxes, 'classes': _classes(record, class_ids), 'id': _numeric_id(record),
            'crowd': tf.cast(_or_default(record['image/object/is_crowd'], count, 0), tf.bool),
            'area': tf.where(tf.size(stored) == count, _or_default(stored, count, 0.), sides[:, 0] * sides[:, 1])}


def _or_default(values, count, default):
    """`values` where there are `count` of them, else that many defaults: official VOC files have no is_crowd."""
    return tf.cond(tf.size(values) == count, lambda: values, lambda: tf.fill([count], tf.constant(default, values.dtype)))


def _classes(record, class_ids):
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(
        tf.constant(class_ids, tf.int64), tf.range(len(class_ids))), default_value=-1)
    labels = record['image/object/class/label']
    classes = table.lookup(labels)
    known = tf.debugging.Assert(tf.reduce_all(classes >= 0), [
        'image', record['image/source_id'], 'has labels', labels, 'but the configuration knows only', str(list(class_ids))[:200],
        '- set label_map and num_classes to the ids of this data set'], summarize=20)
    with tf.control_dependencies([known]):
        return tf.identity(classes)


def _numeric_id(record):
    """int64: the source id where it is a number, else a hash of it (of the picture, where it is empty)."""
    name = record['image/source_id']
    is_number = tf.strings.regex_full_match(name, '-?[0-9]{1,18}')
    text = tf.where(tf.equal(name, ''), record['image/encoded'], name)
    return tf.where(is_number, tf.strings.to_number(tf.where(is_number, name, '0'), tf.int64),
                    tf.strings.to_hash_bucket_fast(text, 2 ** 62))
