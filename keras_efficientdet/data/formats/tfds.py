"""TensorFlow Datasets with an `objects` feature, such as coco, voc or wider_face.

tensorflow-datasets is optional.
"""

import collections.abc
import io
import os
import pathlib
import typing

import numpy as np
from PIL import Image

from keras_efficientdet.data.formats.common import photo
from keras_efficientdet.data.source import Change, Source
from keras_efficientdet.errors import DataError


def read_tfds(
    name_or_builder: typing.Any, split: str, data_dir: str | os.PathLike | None = None
) -> Source:
    """Reads a split of a TensorFlow Datasets builder, which is prepared if it is not yet.

    Boxes are clipped to the image, and counted. Category ids are those of the builder, from 0 on.
    Images stay encoded as they are, and are read during iteration, so that data sets of any size
    can be read.

    Args:
      name_or_builder: 'coco/2017', or a builder with the features image and objects {bbox, label};
        objects may have is_crowd.
      split: as TensorFlow Datasets takes it: 'train', 'validation[:10%]'.
      data_dir: where the data set is prepared, or will be.
    Raises:
      DataError: the builder has no boxes or no class names, or lacks the split.
      ImportError: tensorflow-datasets is not installed.
    """
    import tensorflow_datasets as tfds

    builder = name_or_builder
    if isinstance(builder, str):
        builder = tfds.builder(builder, data_dir=data_dir)
    objects = _objects(builder)
    builder.download_and_prepare()
    try:
        count = builder.info.splits[split].num_examples
    except (KeyError, ValueError) as error:
        raise DataError(
            f'{builder.info.full_name}: no split {split!r}; it has {list(builder.info.splits)}'
        ) from error
    label_map = dict(enumerate(objects['label'].names))
    changes: collections.Counter[Change] = collections.Counter()
    return Source(_Photos(builder, split, count, changes), label_map, changes)


def _objects(builder):
    """The features of an object. Raises DataError if there are no boxes or labels among them."""
    features = dict(builder.info.features.items())
    objects = features['objects'].feature if 'objects' in features else {}
    if 'image' not in features or not {'bbox', 'label'} <= set(objects.keys()):
        raise DataError(
            f'{builder.info.full_name}: needs the features image and objects with bbox and label, '
            f'found {list(features)}'
        )
    return objects


class _Photos(collections.abc.Collection):
    """The photos of a split, made anew in each iteration."""

    def __init__(self, builder, split, count, changes):
        self._builder = builder
        self._split = split
        self._count = count
        self._changes = changes

    def __len__(self):
        return self._count

    def __contains__(self, photo):
        return any(photo is mine for mine in self)

    def __iter__(self):
        import tensorflow_datasets as tfds

        self._changes.clear()  # else a second iteration would count again
        examples = self._builder.as_dataset(
            self._split, decoders={'image': tfds.decode.SkipDecoding()}
        )
        for i, example in enumerate(tfds.as_numpy(examples), 1):
            yield _photo(example, i, self._changes)


def _photo(example, i, changes):
    encoded = bytes(example['image'])
    with Image.open(io.BytesIO(encoded)) as image:
        width, height = image.size  # as stored: TensorFlow Datasets does not apply EXIF
    objects = example['objects']
    boxes = np.reshape(objects['bbox'], (-1, 4)) * [height, width, height, width]
    crowd = objects.get('is_crowd', np.zeros(len(boxes), bool))
    rows = [
        (box, int(label), None, bool(is_crowd))
        for box, label, is_crowd in zip(boxes, objects['label'], crowd, strict=True)
    ]
    name = os.fsdecode(example.get('image/filename', b'')) or f'image {i}'
    id = int(example.get('image/id', i))
    return photo(pathlib.Path(name), id, (height, width), rows, changes, encoded)
