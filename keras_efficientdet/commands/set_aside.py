"""Training data without validation data: a share of them is set aside for validation."""

import collections.abc
import dataclasses

import numpy as np

from keras_efficientdet.data.data_set import Data
from keras_efficientdet.data.records import Records, open_records
from keras_efficientdet.data.source import Source
from keras_efficientdet.errors import DataError

SHARE = 0.2
FEWEST_FILES = 5  # TFRecord files that are divided: one of them is then the share


def set_aside(data: Data, seed: int, share: float = SHARE) -> tuple[Data, Data, str]:
    """Divides training data into a part to train on and a part to validate on.

    The division depends on the number of images (or the names of the files) and the seed alone, so
    that an interrupted training continues with the same two parts.

    Args:
      data: a Source, whose images are divided, or TFRecords (folder, file, glob pattern, list of
        files), which are divided by file, because the examples in a file are read in order.
      seed: of the shuffle before the division. share: of the validation part, between 0 and 1.
    Returns:
      (training part, validation part, what was set aside as text); two Sources or two Records.
    Raises:
      DataError: fewer than two images, or fewer than five files.
    """
    if isinstance(data, Source):
        return _divided_source(data, seed, share)
    return _divided_files(data, seed, share)


def _divided_source(source, seed, share):
    count = len(source.photos)
    if count < 2:
        raise DataError(f'{count} images cannot be divided into training and validation data')
    kept, aside = _divided(count, seed, share)
    # The reader's counts of changes are of all images; they are reported with the training part.
    train = dataclasses.replace(source, photos=_Part(source.photos, kept))
    valid = dataclasses.replace(source, photos=_Part(source.photos, aside), changes={})
    return train, valid, f'{len(aside)} of {count} images'


def _divided_files(data, seed, share):
    whole = open_records(data)
    count = len(whole.files)
    if count < FEWEST_FILES:
        raise DataError(
            f'{data}: {count} TFRecord files, and validation data are set aside from '
            f'{FEWEST_FILES} or more; give --valid, or the annotated data set in place of records'
        )
    kept, aside = _divided(count, seed, share)
    return _some(whole, kept), _some(whole, aside), f'{len(aside)} of {count} files'


def _some(whole, indices):
    """Some of the files; the summary, which counts the examples of all, does not apply to them."""
    files = tuple(whole.files[i] for i in sorted(indices))
    return Records(f'{whole.place} ({len(files)} of {len(whole.files)} files)', files, {})


def _divided(count, seed, share):
    """(indices kept, indices set aside), both sets of at least one."""
    order = np.random.default_rng(seed).permutation(count).tolist()
    aside = min(max(1, round(share * count)), count - 1)
    return frozenset(order[aside:]), frozenset(order[:aside])


class _Part(collections.abc.Collection):
    """Some of a Source's images, in their order; they stay unread until one iterates."""

    def __init__(self, photos, indices):
        self._photos, self._indices = photos, indices

    def __len__(self):
        return len(self._indices)

    def __contains__(self, photo):
        return any(photo is mine for mine in self)

    def __iter__(self):
        for i, photo in enumerate(self._photos):
            if i in self._indices:
                yield photo
