"""The labels of a data set as they are annotated: what the checks look at.

Images are not decoded, except for thumbnails.
"""

import collections
import dataclasses
import hashlib
import io
import itertools

import numpy as np
import tensorflow as tf
from PIL import Image
from tqdm import tqdm

from keras_efficientdet.config.label_maps import unique_names
from keras_efficientdet.data.record_writer import picture_bytes
from keras_efficientdet.data.records import Place, open_records
from keras_efficientdet.data.source import Source
from keras_efficientdet.errors import DataError
from keras_efficientdet.imaging.pil import named, orientation

_SIDES = ('ymin', 'xmin', 'ymax', 'xmax')
_THUMBNAIL = 16  # pixels of a side


# eq=False, here and below: comparing arrays with == gives an array, not a bool.
@dataclasses.dataclass(frozen=True, eq=False)
class LabelledImage:
    """The labels of one image.

    Attributes:
      id: image id, as written.
      file: file name, or ''.
      size: (height, width) of the image itself.
      annotated_size: (height, width) in its annotation, or None where there is none.
      digest: SHA-256 of the encoded image, as hexadecimal digits.
      boxes: float [N, 4], ymin xmin ymax xmax in pixels; not clipped, perhaps inside out.
      labels: N category ids.
      names: names of the categories as written; may be fewer than N, or empty.
      crowd: bool [N].
      thumbnail: float32 [256] of mean 0 and length 1; None where it was not asked for, or the
        image has one colour.
    """

    id: str
    file: str
    size: tuple[int, int]
    annotated_size: tuple[int, int] | None
    digest: str
    boxes: np.ndarray
    labels: tuple[int, ...]
    names: tuple[str, ...]
    crowd: np.ndarray
    thumbnail: np.ndarray | None

    @property
    def title(self) -> str:
        """What findings call it. The file name helps where a reader numbered the images itself."""
        return f'image {self.id} ({self.file})' if self.file else f'image {self.id}'

    @property
    def clipped(self) -> np.ndarray:
        """float [N, 4]: boxes clipped to the image."""
        return np.clip(self.boxes, 0, [*self.size, *self.size])

    @property
    def learnable(self) -> np.ndarray:
        """bool [N]: boxes that have an area inside the image and are not crowd regions."""
        return np.all(self.clipped[:, 2:] > self.clipped[:, :2], 1) & ~self.crowd


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set.

    Attributes:
      name: 'train', 'val' or what the caller calls it.
      images: list of LabelledImage.
      whole: whether `images` are all images of the split.
      summary: what `write_records` left beside the records, or {}.
    """

    name: str
    images: list[LabelledImage]
    whole: bool
    summary: dict

    @property
    def boxes_per_class(self) -> collections.Counter:
        """{category id: number of boxes}: of all images if a summary has it, else of `images`."""
        per_name = self.summary.get('boxes_per_class')
        if per_name and not self.whole:
            names = unique_names(self.summary.get('label_map', {}))
            return collections.Counter({i: per_name.get(name, 0) for i, name in names.items()})
        return collections.Counter(label for image in self.images for label in image.labels)


def split_of_records(
    name: str, files_or_dir: Place, limit: int | None = None, thumbnails: bool = False
) -> Split:
    """A Split of TFRecords, or of the first `limit` examples of them.

    Raises:
      DataError: there are no files or no Examples, or an image cannot be read.
    """
    records = open_records(files_or_dir)
    serialized = tf.data.TFRecordDataset(list(records.files)).as_numpy_iterator()
    # One more than the limit, to know whether there are more.
    some = itertools.islice(serialized, None if limit is None else limit + 1)
    progress = tqdm(
        some, desc=f'doctor: {name}', unit=' images', disable=limit is not None, leave=False
    )
    read = [_of_record(one, thumbnails) for one in progress]
    images = read[:limit]
    whole = len(read) == len(images)
    return Split(name, images, whole=whole, summary=records.summary)


def _of_record(serialized, thumbnails):
    feature = tf.train.Example.FromString(serialized).features.feature
    encoded = _bytes(feature, 'image/encoded')
    image_id = _text(feature, 'image/source_id')
    image = _opened(encoded, image_id)
    size = (image.height, image.width)
    boxes = _boxes(feature, image_id) * [*size, *size]
    crowd = np.array(feature['image/object/is_crowd'].int64_list.value, bool)
    names = feature['image/object/class/text'].bytes_list.value
    return LabelledImage(
        id=image_id,
        file=_text(feature, 'image/filename'),
        size=size,
        annotated_size=_annotated_size(feature),
        digest=_text(feature, 'image/key/sha256') or hashlib.sha256(encoded).hexdigest(),
        boxes=boxes,
        labels=tuple(feature['image/object/class/label'].int64_list.value),
        names=tuple(name.decode(errors='replace') for name in names),
        # Records of VOC made by the official tools have no is_crowd.
        crowd=crowd if len(crowd) == len(boxes) else np.zeros(len(boxes), bool),
        thumbnail=_thumbnail(image) if thumbnails else None,
    )


def _bytes(feature, key):
    return b''.join(feature[key].bytes_list.value)


def _text(feature, key):
    return _bytes(feature, key).decode(errors='replace')


def _boxes(feature, image_id):
    """float [N, 4] in normalised coordinates, ymin xmin ymax xmax."""
    sides = [np.array(feature[f'image/object/bbox/{s}'].float_list.value, float) for s in _SIDES]
    counts = [len(side) for side in sides]
    if len(set(counts)) != 1:
        raise DataError(
            f'image {image_id}: found {", ".join(map(str, counts))} values of {", ".join(_SIDES)}; '
            'expected the same number of each. Convert the data set again'
        )
    return np.stack(sides, -1)


def _annotated_size(feature):
    height = feature['image/height'].int64_list.value
    width = feature['image/width'].int64_list.value
    return (height[0], width[0]) if height and width else None


def split_of_source(source: Source, limit: int | None = None, name: str = 'annotations') -> Split:
    """A Split of a `Source`, or of its first `limit` images.

    Raises:
      DataError: an image cannot be read.
    """
    photos = itertools.islice(source.photos, limit)
    images = [_of_photo(photo, source.label_map) for photo in photos]
    names = unique_names(source.label_map)
    boxes_per_class = collections.Counter(names[i] for p in source.photos for i in p.ids)
    summary = {
        'images': len(source.photos),
        'label_map': source.label_map,
        'changes': source.changes,
        'boxes': sum(boxes_per_class.values()),
        'boxes_per_class': boxes_per_class,
    }
    whole = limit is None or len(source.photos) <= limit
    return Split(name, images, whole=whole, summary=summary)


def _of_photo(photo, label_map):
    with named(photo.path):
        encoded = picture_bytes(photo)
    image = _opened(encoded, photo.path)
    annotated_size = (photo.height, photo.width)
    sizes = [(image.height, image.width)]
    if orientation(image) >= 5:
        # EXIF turns it by 90 degrees; tools differ in whether they annotate the image turned.
        sizes.append((image.width, image.height))
    return LabelledImage(
        id=str(photo.id),
        file=photo.path.name,
        size=annotated_size if annotated_size in sizes else sizes[0],
        annotated_size=annotated_size,
        digest=hashlib.sha256(encoded).hexdigest(),
        boxes=np.asarray(photo.boxes, float).reshape(-1, 4),
        labels=tuple(photo.ids),
        names=tuple(label_map.get(i, '') for i in photo.ids),
        crowd=np.array(photo.crowd, bool),
        thumbnail=None,
    )


def _opened(encoded, name):
    with named(name):
        return Image.open(io.BytesIO(encoded))  # reads the header only


def _thumbnail(image):
    image.draft(
        'L', (4 * _THUMBNAIL, 4 * _THUMBNAIL)
    )  # a JPEG is decoded at a fraction of its size
    grey = image.convert('L').resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    pixels = np.asarray(grey, np.float32).ravel()
    pixels = pixels - pixels.mean()
    length = np.linalg.norm(pixels)
    # Below a deviation of one grey level there is nothing but noise to compare.
    return pixels / length if length > _THUMBNAIL else None
