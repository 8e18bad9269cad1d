"""TensorFlow Datasets with an `objects` feature, such as coco, voc or wider_face. tensorflow-datasets is optional."""

import collections.abc
import io
import pathlib

import numpy as np
from PIL import Image

from keras_efficientdet.data.formats.common import photo
from keras_efficientdet.data.source import Source
from keras_efficientdet.errors import DataError


def read_tfds(name_or_builder, split, data_dir=None):
    """Reads a split of a TensorFlow Datasets builder that is prepared, or that it can prepare.

    Boxes are cut to the picture, and counted. Class ids are those of the builder, from 0 on. Pictures stay encoded as they
    are and are read on the way, so any size of data set will do.

    Args:
      name_or_builder: 'coco/2017', or a builder with features image and objects {bbox, label}; objects may have is_crowd.
      split: as TensorFlow Datasets takes it: 'train', 'validation[:10%]'.
      data_dir: where it is prepared, or will be.
    Raises:
      DataError: the builder has no boxes or no class names, or no such split. ImportError: tensorflow-datasets is not there.
    """
    import tensorflow_datasets as tfds

    builder = (
        tfds.builder(name_or_builder, data_dir=data_dir)
        if isinstance(name_or_builder, str)
        else name_or_builder
    )
    name, features = builder.info.full_name, dict(builder.info.features.items())
    if not {'image', 'objects'} <= set(features) or not {'bbox', 'label'} <= set(
        features['objects'].feature.keys()
    ):
        raise DataError(
            f'{name}: needs the features image and objects with bbox and label, found {list(features)}'
        )
    builder.download_and_prepare()
    try:
        count = builder.info.splits[split].num_examples
    except (KeyError, ValueError) as error:
        raise DataError(
            f'{name}: no split {split!r}; it has {list(builder.info.splits)}'
        ) from error
    label_map = dict(enumerate(features['objects'].feature['label'].names))
    changes = collections.Counter()
    return Source(_Photos(builder, split, count, changes), label_map, changes)


class _Photos(collections.abc.Collection):
    """The photos of a split, made anew each time one goes through them."""

    def __init__(self, builder, split, count, changes):
        self._builder, self._split, self._count, self._changes = builder, split, count, changes

    def __len__(self):
        return self._count

    def __contains__(self, photo):
        return any(photo is mine for mine in self)

    def __iter__(self):
        import tensorflow_datasets as tfds

        self._changes.clear()
        examples = self._builder.as_dataset(
            self._split, decoders={'image': tfds.decode.SkipDecoding()}
        )
        for i, example in enumerate(tfds.as_numpy(examples), 1):
            yield _photo(example, i, self._changes)


def _photo(example, i, changes):
    with Image.open(io.BytesIO(example['image'])) as picture:
        width, height = picture.size  # as stored: EXIF is not applied there
    objects = example['objects']
    boxes = np.reshape(objects['bbox'], (-1, 4)) * [height, width, height, width]
    crowd = objects.get('is_crowd', np.zeros(len(boxes), bool))
    rows = [
        (box, int(label), None, bool(c))
        for box, label, c in zip(boxes, objects['label'], crowd, strict=True)
    ]
    name = example.get('image/filename', b'').decode() or f'picture {i}'
    return photo(
        pathlib.Path(name),
        int(example.get('image/id', i)),
        (height, width),
        rows,
        changes,
        bytes(example['image']),
    )
