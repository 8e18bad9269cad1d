"""What a data set is: images with their annotations."""

import collections.abc
import dataclasses
import enum
import pathlib
import typing

import numpy as np


class Change(str, enum.Enum):
    """What a reader or the record writer changed in a data set.

    A member equals its text, which is what dataset.json and messages show.
    """

    EMPTY_BOX = 'boxes of zero size, left out'
    BOX_OUTSIDE = 'boxes outside their picture, left out'
    BOX_CUT = 'boxes cut to their picture'
    POLYGON = 'polygons, of which the boxes around them are used'
    POINT_OUTSIDE = 'key points outside their image, left out'
    KEY_POINTS = 'key points, left out'
    NO_LABEL_FILE = 'pictures without a label file, taken as without objects'
    STORED_AS_PNG = 'pictures stored as PNG'
    REVERSED_BOX = 'boxes with swapped corners, put right'
    INVALID_AREA = 'areas that are no positive numbers, replaced by those of the boxes'
    SCORE = 'scores, left out'
    SIZE_MEASURED = 'images without a stated size, which were measured'
    SPELLING = 'images found under another case or ending of their name'
    OTHER_FOLDER = 'images found by their name in another folder'
    UNUSED_CATEGORY = 'categories without boxes that only group others, left out'
    OTHER_IMAGE = 'annotations that state another image than that of their name, which is used'
    NO_OUTLINE = 'objects without an outline, whose boxes are ignored in masks'
    OTHER_FILE = 'xml files that are not annotations, left out'

    # str() and format() of a member differ between versions of Python; here both give the text.
    def __str__(self):
        return self.value

    def __format__(self, format_spec):
        return format(self.value, format_spec)


BOXES_LEFT_OUT = frozenset({Change.EMPTY_BOX, Change.BOX_OUTSIDE})
BOXES_CUT = frozenset({Change.BOX_CUT})
BOXES_REVERSED = frozenset({Change.REVERSED_BOX})


@dataclasses.dataclass(frozen=True, eq=False)
class Photo:
    """An image with its annotations; ids, areas and crowd have one entry per box."""

    path: pathlib.Path  # only a name where `data` holds the image
    id: int | str
    height: int
    width: int
    boxes: np.ndarray  # [N, 4]: ymin, xmin, ymax, xmax in pixels
    ids: tuple[int, ...]  # category ids of the data set
    areas: tuple[float, ...]  # in pixels
    crowd: tuple[bool, ...]
    # An image that is not a file: encoded, or uint8 [H, W, 3] or [H, W].
    data: bytes | np.ndarray | None = None
    # For segmentation: a PNG file of category ids, or pairs of category id (None: ignored) and what
    # COCO has for a region, polygons or a run-length encoded mask (`painting.mask_of`).
    mask: pathlib.Path | tuple[tuple[int | None, typing.Any], ...] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A data set as its reader returns it.

    A reader may make photos while they are iterated over; then `changes` is complete once the
    iteration has ended.
    """

    photos: collections.abc.Collection[Photo]  # can be iterated over more than once
    label_map: dict[int, str]  # {category id: name} in class order
    changes: dict[Change, int]  # how often each was made
