"""Images with boxes -> TFRecord files with the official feature names."""

import collections
import contextlib
import hashlib
import io
import json
import math
import os
import pathlib
import shutil
import uuid

import numpy as np
import tensorflow as tf
from PIL import Image
from tqdm import tqdm

from keras_efficientdet.config.label_maps import unique_names
from keras_efficientdet.data.painting import mask_of
from keras_efficientdet.data.records import MASK, MASK_IDS, SUMMARY
from keras_efficientdet.data.source import Change, Photo, Source
from keras_efficientdet.errors import DataError, raise_faults
from keras_efficientdet.imaging.pil import named, png, rgb, upright
from keras_efficientdet.ops import images
from keras_efficientdet.threads import in_order

PHOTOS_PER_SHARD = 250
OPEN_SHARDS = 200  # systems allow 1024 open files, or 256, and other files are open too
# Formats of Pillow that are stored as they are. MPO is a JPEG with others behind it.
_STORED = {'JPEG': 'jpeg', 'MPO': 'jpeg', 'PNG': 'png'}
# Keys of the Counter that `serialize` returns, beside (_BOXES, category id).
_BOXES, _CROWD, _WITHOUT_BOXES, _CONVERTED = 'boxes', 'crowd', 'without', 'png'


def write_records(
    source: Source,
    output_dir: str | os.PathLike,
    *,
    workers: int | None = None,
    progress: bool = True,
) -> dict:
    """Writes a Source as sharded TFRecords beside a summary (dataset.json).

    All images are decoded once, so that broken files are found now, all of them, and not one by one
    in hours of training. JPEG and PNG files are stored as they are, and of files of several images
    (MPO of phones) the first; other formats, and images that EXIF turns, are stored as PNG, so that
    their pixels stay what they are.

    Args:
      source: Source.
      output_dir: a new folder.
      workers: threads, as many as cores by default. The files are the same, byte for byte, for any
        number.
      progress: shows a progress bar.
    Returns:
      the summary: images, boxes, boxes_per_class, label_map, changes and so on.
    Raises:
      DataError: there are no images; images are missing, broken, or of another size than their
        annotations state (all of them are named or counted); the folder exists. Then nothing is
        left in output_dir.
    """
    with new_folder(source, output_dir) as folder:
        counts = _write(source, folder, workers or os.cpu_count(), progress)
        return write_summary(source, counts, folder)


@contextlib.contextmanager
def new_folder(source, output_dir):
    """A folder for the records of a Source; it becomes output_dir at the end.

    After an error nothing is left of it.
    """
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
    """File names of the shards; image i is in shard i modulo their number."""
    shards = math.ceil(len(source.photos) / PHOTOS_PER_SHARD)
    return [f'{i:05d}-of-{shards:05d}.tfrecord' for i in range(shards)]


def _write(source, folder, workers, progress):
    """Writes the shards, some in each pass over the photos; returns the counts of `serialize`."""
    paths = [folder / name for name in shard_names(source)]
    counts, faults = collections.Counter(), []
    total = len(source.photos)
    with tqdm(desc='writing records', unit=' images', total=total, disable=not progress) as bar:
        for first in range(0, len(paths), OPEN_SHARDS):
            some = paths[first : first + OPEN_SHARDS]
            photos = (
                photo
                for i, photo in enumerate(source.photos)
                if 0 <= i % len(paths) - first < len(some)
            )
            made = in_order(lambda photo: attempt(photo, source.label_map), photos, workers)
            _write_shards(some, made, bar, counts, faults)
    raise_faults(faults)
    return counts


def _write_shards(paths, made, bar, counts, faults):
    """Writes what `attempt` made to shards in turn, or collects the faults."""
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(tf.io.TFRecordWriter(str(path))) for path in paths]
        for i, (serialized, counted, fault) in enumerate(made):
            bar.update()
            if fault:
                faults.append(fault)
            else:
                writers[i % len(writers)].write(serialized)
                counts.update(counted)


def attempt(photo, label_map):
    """(serialized, counts, None) as `serialize` returns them, or (None, None, DataError)."""
    try:
        return *serialize(photo, label_map), None
    except DataError as fault:
        return None, None, fault


def serialize(photo, label_map):
    """A Photo as bytes of a tf.train.Example, and a Counter of its content for `write_summary`.

    Raises DataError, which names the image.
    """
    encoded, kind = _encoded(photo)
    counts = collections.Counter(
        {
            _CROWD: sum(photo.crowd),
            _WITHOUT_BOXES: not photo.ids,
            _CONVERTED: kind == 'png' and not str(photo.path).lower().endswith('.png'),
        }
    )
    for category_id in photo.ids:
        counts[_BOXES, category_id] += 1
    example = _example(photo, encoded, kind, label_map)
    if photo.mask is not None:
        _add_mask(example, photo, tuple(label_map))
    return example.SerializeToString(deterministic=True), counts


def write_summary(source, counts, folder):
    """Writes and returns the summary of a folder of records.

    counts: the sum of the Counters that `serialize` returned for them.
    """
    changes = {**source.changes, Change.STORED_AS_PNG: counts[_CONVERTED]}
    summary = {
        'images': len(source.photos),
        'boxes': sum(counts[_BOXES, i] for i in source.label_map),
        'images_without_boxes': counts[_WITHOUT_BOXES],
        'label_map': dict(source.label_map),  # json takes no other mapping
        'boxes_per_class': {
            name: counts[_BOXES, i] for i, name in unique_names(source.label_map).items()
        },
        'crowd_boxes': counts[_CROWD],
        'changes': {change: count for change, count in changes.items() if count},
    }
    (folder / SUMMARY).write_text(json.dumps(summary, indent=1), encoding='utf-8')
    return summary


def _encoded(photo):
    """(bytes, 'jpeg' or 'png') that decode to the pixels to which the boxes refer."""
    with named(photo.path):
        data = picture_bytes(photo)
        stored = Image.open(io.BytesIO(data))
        turned = upright(stored)
    # Annotations refer to the image either as viewers turn it, or as it is stored.
    size = (photo.width, photo.height)
    shown = turned if turned.size == size else stored
    if shown.size != size:
        raise DataError(
            f'{photo.path}: the image is {shown.width}x{shown.height} (width x height), but its '
            f'annotation states {photo.width}x{photo.height}; correct the annotation'
        )
    unchanged = shown is stored and stored.mode in ('RGB', 'L')
    if unchanged and stored.format in _STORED and _decodes(data):
        return data, _STORED[stored.format]
    with named(photo.path):
        return png(rgb(shown)), 'png'


def picture_bytes(photo: Photo) -> bytes:
    """The encoded image of a Photo. Raises OSError if its file cannot be read."""
    if photo.data is None:
        return photo.path.read_bytes()
    return photo.data if isinstance(photo.data, bytes) else png(Image.fromarray(photo.data))


def _decodes(data):
    """Whether TensorFlow decodes it too.

    Pillow tolerates a missing end of file, at which a training would stop.
    """
    try:
        return images.decode(data) is not None
    except tf.errors.InvalidArgumentError:
        return False


def _example(photo, encoded, kind, label_map):
    normalized = np.asarray(photo.boxes) / [photo.height, photo.width, photo.height, photo.width]
    ymin, xmin, ymax, xmax = normalized.T
    features = {
        'image/encoded': [encoded],
        'image/format': [kind.encode()],
        # As the file system has it, which need not be UTF-8.
        'image/filename': [os.fsencode(photo.path.name)],
        'image/source_id': [str(photo.id).encode()],
        'image/key/sha256': [hashlib.sha256(encoded).hexdigest().encode()],
        'image/height': [photo.height],
        'image/width': [photo.width],
        'image/object/class/label': [int(i) for i in photo.ids],
        'image/object/class/text': [label_map[i].encode() for i in photo.ids],
        'image/object/is_crowd': [int(c) for c in photo.crowd],
        'image/object/area': np.asarray(photo.areas, float),
        'image/object/bbox/ymin': ymin,
        'image/object/bbox/xmin': xmin,
        'image/object/bbox/ymax': ymax,
        'image/object/bbox/xmax': xmax,
    }
    return tf.train.Example(
        # As in the official converters, an image without boxes has no features of objects.
        features=tf.train.Features(feature={k: _feature(v) for k, v in features.items() if len(v)})
    )


def _add_mask(example, photo, category_ids):
    feature = example.features.feature
    mask = png(Image.fromarray(mask_of(photo, category_ids)))
    feature[MASK].CopyFrom(_feature([mask]))
    feature[MASK_IDS].CopyFrom(_feature([int(i) for i in category_ids]))


def _feature(values):
    if isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if isinstance(values[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))
