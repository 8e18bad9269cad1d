"""Checks of boxes that are annotated more than once."""

import numpy as np

from keras_efficientdet.doctor.findings import Finding
from keras_efficientdet.doctor.split import Split

NEAR = 0.02  # of the shorter side of a box: no side of its twin may be further away


def check_repeated(split: Split) -> list[Finding]:
    """Findings about boxes of a Split that are there twice, with one class or with two."""
    same, other = [], []
    for image in split.images:
        twins = _twins(image.boxes)
        labels = np.asarray(image.labels)[twins] if len(twins) else np.zeros((0, 2))
        alike = labels[:, 0] == labels[:, 1]
        # Each box counts once, however many others lie on it.
        same += [(image, box) for box in np.unique(twins[alike, 1])]
        other += [(image, box) for box in np.unique(twins[~alike, 1])]
    total = sum(len(image.boxes) for image in split.images)
    return [
        *_finding(
            split,
            same,
            total,
            ('boxes.repeated', 'warning', 'are there twice, with the same class'),
            'delete one of each pair: a detector that finds the object once misses the other box, '
            'so even a perfect detector has a lower AP',
        ),
        *_finding(
            split,
            other,
            total,
            ('boxes.two_classes', 'note', 'lie on a box of another class'),
            'this is fine if an object may have several classes; otherwise delete the wrong box',
        ),
    ]


def _twins(boxes):
    """int [N, 2]: pairs (i, j), i < j, of boxes that are the same.

    Box by box, because all distances of thousands of boxes would fill the memory.
    """
    near = NEAR * np.min(boxes[:, 2:] - boxes[:, :2], axis=1)
    pairs = [
        (i, i + 1 + j)
        for i, box in enumerate(boxes)
        for j in np.flatnonzero(np.abs(boxes[i + 1 :] - box).max(axis=1, initial=0) < near[i])
    ]
    return np.reshape(pairs, (-1, 2)).astype(int)


def _finding(split, found, total, kind, fix):
    if not found:
        return []
    id, severity, text = kind
    image, box = found[0]
    example = np.round(image.boxes[box], 1).tolist()
    return [
        Finding(
            id,
            severity,
            f'{split.name}: {len(found)} of {total} boxes {text}, for example '
            f'{example} (ymin, xmin, ymax, xmax) of {image.title}',
            fix,
            split=split.name,
            numbers={'repeated': len(found), 'boxes': total},
        )
    ]
