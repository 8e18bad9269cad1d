"""What a data set is: images with their annotations."""

import collections.abc
import dataclasses
import enum
import pathlib

import numpy as np


class Change(str, enum.Enum):
    """What a reader or the record writer changed in a data set.

    A member equals its text, which is what dataset.json and messages show.
    """

    EMPTY_BOX = 'boxes of zero size, left out'
    BOX_OUTSIDE = 'boxes outside their picture, left out'
    BOX_CUT = 'boxes cut to their picture'
    POLYGON = 'polygons, of which the boxes around them are used'
    KEY_POINTS = 'key points, left out'
    NO_LABEL_FILE = 'pictures without a label file, taken as without objects'
    STORED_AS_PNG = 'pictures stored as PNG'

    # str() and format() of a mixed-in enum differ between versions of Python; here both give the text.
    __str__ = str.__str__
    __format__ = str.__format__


BOXES_LEFT_OUT = frozenset({Change.EMPTY_BOX, Change.BOX_OUTSIDE})
BOXES_CUT = frozenset({Change.BOX_CUT})


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
    """What a data format yields: the photos, {own id: name} in class order, and {Change: count} of what was changed.

    `photos` has a length and can be gone through again; a format that makes them on the way has its counts right after that.
    """

    photos: collections.abc.Collection
    label_map: dict
    changes: dict
