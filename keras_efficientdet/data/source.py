"""What a data set is: images with their annotations."""

import collections.abc
import dataclasses
import pathlib

import numpy as np


@dataclasses.dataclass(frozen=True)
class Photo:
    """A picture with what is known of it. boxes [N, 4] ymin xmin ymax xmax in pixels; ids are the data set's own."""

    path: pathlib.Path  # where `data` holds the picture: only its name
    id: int | str
    height: int
    width: int
    boxes: np.ndarray
    ids: tuple
    areas: tuple
    crowd: tuple
    data: bytes | np.ndarray | None = (
        None  # a picture that is no file: encoded, or uint8 [H, W, 3] or [H, W]
    )


@dataclasses.dataclass(frozen=True)
class Source:
    """What a data format yields: the photos, {own id: name} in class order, and counts of what was changed.

    `photos` has a length and can be gone through again; a format that makes them on the way has its counts right after that.
    """

    photos: collections.abc.Collection
    label_map: dict
    changes: dict
