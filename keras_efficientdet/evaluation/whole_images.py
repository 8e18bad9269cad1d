"""Metrics of classes of whole images, from the rows that COCO's metrics are computed from."""

import collections
import math

import numpy as np


def as_annotated(truth: list, found: list) -> list:
    """`found` with the box of each row replaced by the largest annotated box of its image.

    The class of an image has no place in it. So COCO's metrics are those of the classes alone: AP
    is the mean over classes of the average precision, the same at each IoU.

    Args:
      truth, found: as of `coco.coco_run`.
    """
    boxes = {image_id: main['bbox'] for image_id, main in _main_annotations(truth)}
    return [{**row, 'bbox': boxes.get(row['image_id'], row['bbox'])} for row in found]


def accuracy(truth: list, found: list) -> dict[str, float]:
    """{'top1', 'top5'}: shares of the images whose class is among the best 1 or 5.

    An image with several classes has that of its largest box; images without a class do not count.
    nan if there are none.
    """
    best = collections.defaultdict(list)
    for row in sorted(found, key=lambda row: -row['score']):
        best[row['image_id']].append(row['category_id'])
    places = []
    for image_id, main in _main_annotations(truth):
        classes = best[image_id]
        known = main['category_id'] in classes
        places.append(classes.index(main['category_id']) if known else math.inf)
    if not places:
        return {'top1': math.nan, 'top5': math.nan}
    return {f'top{k}': float(np.mean(np.array(places) < k)) for k in (1, 5)}


def _main_annotations(truth):
    """(image id, its annotation with the largest area) of each image that has one."""
    for image_id, annotations in truth:
        if annotations:
            yield image_id, max(annotations, key=lambda a: a['bbox'][2] * a['bbox'][3])
