"""Photos with boxes -> TFRecord files with the official feature names."""

import collections
import contextlib
import hashlib
import io
import json
import os
import pathlib
import shutil
import uuid

import numpy as np
import tensorflow as tf
from PIL import Image
from tqdm import tqdm

from keras_efficientdet.data.records import SUMMARY
from keras_efficientdet.data.source import Change
from keras_efficientdet.errors import DataError
from keras_efficientdet.imaging.pil import named, png, rgb, upright
from keras_efficientdet.ops import images
from keras_efficientdet.threads import in_order

PHOTOS_PER_SHARD = 250


def write_records(source, output_dir, *, workers=None, progress=True):
    """Writes a Source as sharded TFRecords beside a summary (dataset.json).

    All pictures are decoded once, so that a broken file is found now and not after hours of training. JPEG and PNG files
    are stored as they are; others, and those turned by EXIF, are stored as PNG.

    Args:
      workers: threads; default: as many as cores. The files are the same, byte for byte, for any number.
    Returns:
      the summary: images, boxes, boxes_per_class, label_map and what was changed.
    Raises:
      DataError: no photos; a picture is missing, broken, or of another size than its annotation; the folder exists.
        Nothing is left in output_dir then.
    """
    with new_folder(source, output_dir) as folder:
        counts = _write(source, folder, workers or os.cpu_count(), progress)
        return write_summary(source, counts, folder)


@contextlib.contextmanager
def new_folder(source, output_dir):
    """A folder to write the records of a Source in; it becomes output_dir at the end, or is gone after an error."""
    output_dir = pathlib.Path(output_dir)
    if output_dir.exists():
        raise DataError(f'{output_dir} exists; remove it or choose another folder')
    if not len(source.photos):
        raise DataError('the data set lists no images')
    working = output_dir.with_name(f'{output_dir.name}.writing-{uuid.uuid4().hex}')
    working.mkdir(parents=True)
    try:
        yield working
        working.rename(output_dir)
    finally:
        shutil.rmtree(working, ignore_errors=True)


def shard_names(source):
    """File names; photo i is in file i modulo their number."""
    shards = -(-len(source.photos) // PHOTOS_PER_SHARD)
    return [f'{i:05d}-of-{shards:05d}.tfrecord' for i in range(shards)]


def _write(source, folder, workers, progress):
    writers = [tf.io.TFRecordWriter(str(folder / name)) for name in shard_names(source)]
    counts = collections.Counter()
    made = in_order(lambda photo: serialize(photo, source.label_map), source.photos, workers)
    bar = tqdm(
        made, desc='writing records', unit=' images', total=len(source.photos), disable=not progress
    )
    for i, (serialized, counted) in enumerate(bar):
        writers[i % len(writers)].write(serialized)
        counts.update(counted)
    for writer in writers:
        writer.close()
    return counts


def serialize(photo, label_map):
    """(bytes of the tf.train.Example, Counter of what is in it) of a Photo. Raises DataError, naming the picture."""
    encoded, kind = _encoded(photo)
    counts = collections.Counter(
        {('boxes', i): n for i, n in collections.Counter(photo.ids).items()}
    )
    counts.update(
        {
            'crowd': sum(photo.crowd),
            'without': not photo.ids,
            'png': kind == 'png' and not str(photo.path).lower().endswith('.png'),
        }
    )
    return _example(photo, encoded, kind, label_map).SerializeToString(deterministic=True), counts


def write_summary(source, counts, folder):
    """Writes and returns what the sum of the Counters of `serialize` says of the records in a folder."""
    changes = {**source.changes, Change.STORED_AS_PNG: counts['png']}
    summary = {
        'images': len(source.photos),
        'boxes': sum(counts['boxes', i] for i in source.label_map),
        'images_without_boxes': counts['without'],
        'label_map': dict(source.label_map),
        'boxes_per_class': {name: counts['boxes', i] for i, name in source.label_map.items()},
        'crowd_boxes': counts['crowd'],
        'changes': {k: n for k, n in changes.items() if n},
    }
    (folder / SUMMARY).write_text(json.dumps(summary, indent=1))
    return summary


def _encoded(photo):
    """(bytes, 'jpeg' or 'png') that decode to the pixels which the boxes refer to."""
    with named(photo.path):
        data = picture_bytes(photo)
        picture = Image.open(io.BytesIO(data))
        turned = upright(picture)
    shown = turned if turned.size == (photo.width, photo.height) else picture
    if shown.size != (photo.width, photo.height):
        raise DataError(
            f'{photo.path}: the picture is {shown.width}x{shown.height} (width x height), its annotation says '
            f'{photo.width}x{photo.height}'
        )
    if (
        shown is picture
        and picture.mode in ('RGB', 'L')
        and picture.format in ('JPEG', 'PNG')
        and _decodes(data)
    ):
        return data, picture.format.lower()
    with named(photo.path):
        return png(rgb(shown)), 'png'


def picture_bytes(photo):
    """The encoded picture of a Photo. Raises OSError where its file cannot be read."""
    if photo.data is None:
        return photo.path.read_bytes()
    return photo.data if isinstance(photo.data, bytes) else png(Image.fromarray(photo.data))


def _decodes(data):
    """Whether TensorFlow reads it too: Pillow forgives a missing end of file, which would stop a training."""
    try:
        return images.decode(data) is not None
    except tf.errors.InvalidArgumentError:
        return False


def _example(photo, encoded, kind, label_map):
    normalized = np.asarray(photo.boxes) / [photo.height, photo.width, photo.height, photo.width]
    sides = dict(zip(('ymin', 'xmin', 'ymax', 'xmax'), normalized.T, strict=True))
    features = {
        'image/encoded': [encoded],
        'image/format': [kind.encode()],
        'image/filename': [photo.path.name.encode()],
        'image/source_id': [str(photo.id).encode()],
        'image/key/sha256': [hashlib.sha256(encoded).hexdigest().encode()],
        'image/height': [photo.height],
        'image/width': [photo.width],
        'image/object/class/label': [int(i) for i in photo.ids],
        'image/object/class/text': [label_map[i].encode() for i in photo.ids],
        'image/object/is_crowd': [int(c) for c in photo.crowd],
        'image/object/area': np.asarray(photo.areas, float),
        **{f'image/object/bbox/{k}': v for k, v in sides.items()},
    }
    return tf.train.Example(
        features=tf.train.Features(feature={k: _feature(v) for k, v in features.items()})
    )


def _feature(values):
    if not len(values):  # of no type: an empty float list would not parse as the labels of no boxes
        return tf.train.Feature()
    if isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if isinstance(values[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))
