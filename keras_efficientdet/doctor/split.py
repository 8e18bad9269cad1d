"""The labels of a data set as they are written, read without decoding the pictures: what the checks look at."""

import collections
import dataclasses
import hashlib
import io
import itertools

import numpy as np
import tensorflow as tf
from PIL import Image
from tqdm import tqdm

from keras_efficientdet.data.record_writer import picture_bytes
from keras_efficientdet.data.records import record_files, summary_of
from keras_efficientdet.errors import DataError
from keras_efficientdet.imaging.pil import named, orientation

_SIDES = tuple(f'image/object/bbox/{side}' for side in ('ymin', 'xmin', 'ymax', 'xmax'))
_THUMBNAIL = 16


@dataclasses.dataclass(frozen=True)
class Picture:
    """boxes float [N, 4] ymin xmin ymax xmax in pixels, as written: not cut, perhaps inside out. size, stated (height, width):
    of the picture itself, and what its annotation says (None: nothing). labels, names: the data set's own, names may be empty.
    thumbnail: float32 [256] of mean 0 and length 1, or None where not asked for or of one colour. file: its name, or empty."""

    id: str
    file: str
    size: tuple
    stated: tuple | None
    digest: str
    boxes: np.ndarray
    labels: tuple
    names: tuple
    crowd: np.ndarray
    thumbnail: np.ndarray | None

    @property
    def called(self):
        """What findings call it: readers that number pictures use numbers that no file of the user has."""
        return f'image {self.id} ({self.file})' if self.file else f'image {self.id}'

    @property
    def cut(self):
        """float [N, 4]: boxes cut to the picture."""
        return np.clip(self.boxes, 0, [*self.size, *self.size])

    @property
    def learnable(self):
        """bool [N]: boxes with an area that are no crowds."""
        return np.all(self.cut[:, 2:] > self.cut[:, :2], 1) & ~self.crowd


@dataclasses.dataclass(frozen=True)
class Split:
    """Pictures of one part of a data set. summary: what `write_records` left, or {}; whole: whether all pictures are here."""

    name: str
    pictures: list
    whole: bool
    summary: dict

    @property
    def boxes_per_class(self):
        """Counter {own id: boxes}: of all pictures where the summary says it, else of those that are here."""
        known, per_name = self.summary.get('label_map', {}), self.summary.get('boxes_per_class')
        if per_name and not self.whole:
            return collections.Counter({i: per_name.get(name, 0) for i, name in known.items()})
        return collections.Counter(label for picture in self.pictures for label in picture.labels)


def split_of_records(name, files_or_dir, limit=None, thumbnails=False):
    """A Split of TFRecords, or of the first `limit` of them. Raises DataError: no files, no Examples, or broken pictures."""
    serialized = _serialized(record_files(files_or_dir), limit)
    progress = tqdm(
        serialized, desc=f'doctor: {name}', unit=' images', disable=limit is not None, leave=False
    )
    read = [_of_record(s, thumbnails) for s in progress]
    pictures = read[:limit]
    return Split(name, pictures, len(read) == len(pictures), summary_of(files_or_dir) or {})


def _serialized(files, limit):
    """One more than `limit`, to know whether there are more."""
    return itertools.islice(
        tf.data.TFRecordDataset(files).as_numpy_iterator(), None if limit is None else limit + 1
    )


def _of_record(serialized, thumbnails):
    feature = tf.train.Example.FromString(serialized).features.feature
    encoded = b''.join(feature['image/encoded'].bytes_list.value)
    source_id = b''.join(feature['image/source_id'].bytes_list.value).decode(errors='replace')
    picture = _opened(encoded, source_id)
    size = (picture.height, picture.width)
    sides = [np.array(feature[side].float_list.value, float) for side in _SIDES]
    if len({len(side) for side in sides}) != 1:
        raise DataError(
            f'image {source_id}: {", ".join(str(len(s)) for s in sides)} values of ymin, xmin, ymax, xmax; expected '
            'as many of each'
        )
    labels = tuple(feature['image/object/class/label'].int64_list.value)
    stated = [list(feature[f'image/{side}'].int64_list.value) for side in ('height', 'width')]
    crowd = np.array(feature['image/object/is_crowd'].int64_list.value, bool)
    count = len(sides[0])
    digest = (
        b''.join(feature['image/key/sha256'].bytes_list.value).decode()
        or hashlib.sha256(encoded).hexdigest()
    )
    file = b''.join(feature['image/filename'].bytes_list.value).decode(errors='replace')
    return Picture(
        source_id,
        file,
        size,
        (stated[0][0], stated[1][0]) if all(stated) else None,
        digest,
        np.stack(sides, -1) * [*size, *size],
        labels,
        tuple(
            text.decode(errors='replace')
            for text in feature['image/object/class/text'].bytes_list.value
        ),
        crowd if len(crowd) == count else np.zeros(count, bool),
        _thumbnail(picture) if thumbnails else None,
    )


def split_of_source(source, limit=None, name='annotations'):
    """A Split of a `records.Source`, or of its first `limit` photos. Raises DataError for a broken picture."""
    pictures = [
        _of_photo(photo, source.label_map) for photo in itertools.islice(source.photos, limit)
    ]
    boxes_per_class = collections.Counter(
        source.label_map[i] for photo in source.photos for i in photo.ids
    )
    summary = {
        'images': len(source.photos),
        'label_map': source.label_map,
        'changes': source.changes,
        'boxes': sum(boxes_per_class.values()),
        'boxes_per_class': boxes_per_class,
    }
    return Split(name, pictures, limit is None or len(source.photos) <= limit, summary)


def _of_photo(photo, label_map):
    with named(photo.path):
        encoded = picture_bytes(photo)
    picture, stated = _opened(encoded, photo.path), (photo.height, photo.width)
    sizes = [(picture.height, picture.width)]
    if orientation(picture) >= 5:  # lies on its side; annotations may know that or not
        sizes.append((picture.width, picture.height))
    return Picture(
        str(photo.id),
        photo.path.name,
        stated if stated in sizes else sizes[0],
        stated,
        hashlib.sha256(encoded).hexdigest(),
        np.asarray(photo.boxes, float).reshape(-1, 4),
        tuple(photo.ids),
        tuple(label_map.get(i, '') for i in photo.ids),
        np.array(photo.crowd, bool),
        None,
    )


def _opened(encoded, name):
    with named(name):
        return Image.open(io.BytesIO(encoded))  # reads the header only


def _thumbnail(picture):
    picture.draft('L', (4 * _THUMBNAIL, 4 * _THUMBNAIL))
    grey = picture.convert('L').resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    pixels = np.asarray(grey, np.float32).ravel()
    pixels = pixels - pixels.mean()
    length = np.linalg.norm(pixels)
    return pixels / length if length > _THUMBNAIL else None  # one grey level of deviation
