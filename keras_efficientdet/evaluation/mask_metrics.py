"""Metrics of semantic segmentation: intersection over union, over all pixels of a data set."""

import math
import typing

import numpy as np

from keras_efficientdet.config import Config, class_names
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.ops import class_masks, images

BACKGROUND = 'background'
KEPT = 6  # images with the most errors, for reports


class Compared(typing.NamedTuple):
    """The masks of one image, uint8 [H, W] with padding, and the share of right pixels."""

    right: float
    image_id: int
    annotated: np.ndarray
    found: np.ndarray


class MaskCounts:
    """Counts of pixels by annotated and found class.

    Args:
      names: of all classes of the masks; the first is the background.
    """

    def __init__(self, names: tuple[str, ...]):
        self.names = names
        self.table = np.zeros((len(names), len(names)), np.int64)  # [annotated, found]
        self.worst: list[Compared] = []  # of `add_batch`, the worst first

    def add(self, annotated: np.ndarray, found: np.ndarray) -> None:
        """Counts the pixels of one image, without ignored ones: uint8 arrays of equal shape."""
        known = annotated != class_masks.IGNORED
        pairs = annotated[known].astype(np.int64) * len(self.names) + found[known]
        self.table += np.bincount(pairs, minlength=self.table.size).reshape(self.table.shape)

    def add_batch(self, labels: dict, detections: dict) -> None:
        """Counts a batch: labels of `dataset(training=False)`, detections of `detect_batch`."""
        for image_id, annotated, found, scale in zip(
            labels['id'], labels['mask'][..., 0], detections['mask'], labels['scale'], strict=True
        ):
            # Padding to the largest image of the batch is ignored as well.
            moved = images.unfitted(found, annotated.shape, scale)
            self.add(annotated, moved)
            self._keep(int(image_id), annotated, moved)

    def _keep(self, image_id, annotated, found):
        known = annotated != class_masks.IGNORED
        right = float(np.mean(annotated[known] == found[known])) if known.any() else 1.0
        rows = [*self.worst, Compared(right, image_id, annotated, found)]
        self.worst = sorted(rows, key=lambda row: row.right)[:KEPT]

    def metrics(self) -> dict:
        """{'mIoU': float, 'IoU': {class name: float}}.

        A class that is neither annotated nor found is nan, and does not count in the mean.
        """
        both = np.diag(self.table)
        either = self.table.sum(0) + self.table.sum(1) - both
        of_class = [float(b / e) if e else math.nan for b, e in zip(both, either, strict=True)]
        known = [value for value in of_class if not math.isnan(value)]
        mean = float(np.mean(known)) if known else math.nan
        return {'mIoU': mean, 'IoU': dict(zip(self.names, of_class, strict=True))}


def mask_counts(config: Config) -> MaskCounts | None:
    """Empty counts for the classes of a configuration; None if its head finds no masks."""
    if head_of(config).mask is None:
        return None
    names = (BACKGROUND, *class_names(config.model))
    channels = config.model.seg_num_classes or 0
    further = (f'class {i}' for i in range(len(names), channels))
    return MaskCounts((*names, *further))
