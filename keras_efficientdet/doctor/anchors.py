"""Do the anchors reach the boxes of each class, before augmentation and after it?"""

import math

import numpy as np

from keras_efficientdet.config import class_ids, class_names, load_config
from keras_efficientdet.doctor.findings import Finding
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.ops.anchors import feature_sizes
from keras_efficientdet.ops.boxes import iou
from keras_efficientdet.ops.matching import POSITIVE_IOU

CANDIDATE_SCALES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)
ENOUGH = 0.9  # share of covered boxes below which a class is worth a word
FEW = 10  # boxes of a class below which its share says little
GONE = 2  # pixels of the network's input below which a box shows nothing
DRAWS = 16  # of the scale jitter, per picture


def check_anchors(split, config):
    """Findings about the anchors of a Config on a Split; none for a head without anchors."""
    if head_of(config).anchors is None:
        return []
    boxes, classes = objects(split, config)
    if not len(boxes):
        return []
    enough = np.isin(classes, [k for k, n in enumerate(np.bincount(classes)) if n >= FEW])
    if enough.any():
        boxes, classes = boxes[enough], classes[enough]
    return [
        _advice(split, coverage(boxes, classes, config), boxes, config),
        *_jitter(split, config),
    ]


def best_scale(table):
    """The anchor_scale of an `anchor_coverage` table that covers most of the class that it covers least."""
    return max(table, key=lambda scale: _worst(table[scale]))


def _advice(split, table, boxes, config):
    current, shares = next(iter(table.items()))
    poor = {name: share for name, share in shares.items() if share < ENOUGH}
    if not poor:
        return Finding(
            'anchors.coverage',
            'note',
            f'with anchor_scale {current} some anchor covers (IoU >= {POSITIVE_IOU}) at least '
            f'{_worst(shares):.2f} of the boxes of each class',
            'leave anchor_scale as it is',
            split=split.name,
            numbers=_numbers(current, shares),
        )
    best = best_scale(table)
    if _worst(table[best]) > _worst(shares) + 0.02:
        fix = f'set anchor_scale={best}: it would cover at least {_worst(table[best]):.2f} of each class'
    else:
        fix = 'no other anchor_scale is better; try a larger image_size'
    return Finding(
        'anchors.coverage',
        'warning',
        f'anchor_scale {current}{_size_against(boxes, config)}: share of boxes that some anchor '
        f'covers (IoU >= {POSITIVE_IOU}): '
        + ', '.join(f'{name} {share:.2f}' for name, share in poor.items())
        + '; poorly covered classes train badly',
        fix,
        split=split.name,
        numbers=_numbers(current, poor),
    )


def _numbers(anchor_scale, shares):
    per_level = isinstance(anchor_scale, tuple)
    known = {name: share for name, share in shares.items() if not math.isnan(share)}
    return {
        'anchor_scale': list(anchor_scale) if per_level else anchor_scale,
        'coverage': known,
    }


def _size_against(boxes, config):
    """Whether the boxes that no anchor covers are smaller or larger than all anchors."""
    anchors = head_of(config).anchors(config)
    sides = np.sqrt(np.prod(anchors[:, 2:] - anchors[:, :2], 1))
    missed = boxes[best_overlaps(boxes, config) < POSITIVE_IOU]
    side = float(np.median(np.sqrt(np.prod(missed[:, 2:] - missed[:, :2], 1))))
    if side < sides.min():
        return f', the anchors are too large (median of the missed boxes {side:.0f} px, smallest anchor {sides.min():.0f} px)'
    if side > sides.max():
        return f', the anchors are too small (median of the missed boxes {side:.0f} px, largest anchor {sides.max():.0f} px)'
    return ''


def objects(split, config):
    """Boxes [N, 4] in pixels of the network's input, classes [N], of the objects whose class is known."""
    index = {own: k for k, own in enumerate(class_ids(config.model))}
    boxes, classes = [np.zeros((0, 4))], []
    for image in split.images:
        known = [k for k, label in enumerate(image.labels) if label in index and image.learnable[k]]
        boxes.append(image.clipped[known] * _fit(image.size, config.model.image_size))
        classes += [index[image.labels[k]] for k in known]
    return np.concatenate(boxes).astype(np.float32), np.array(classes, np.int64)


def _fit(size, target):
    return min(target[0] / size[0], target[1] / size[1])


def coverage(boxes, classes, config):
    scales = dict.fromkeys((config.model.anchor_scale, *CANDIDATE_SCALES))
    return {
        scale: _by_class(boxes, classes, load_config(config, {'anchor_scale': scale}))
        for scale in scales
    }


def _by_class(boxes, classes, config):
    covered = best_overlaps(boxes, config) >= POSITIVE_IOU
    return {
        name: float(np.mean(covered[classes == k])) if np.any(classes == k) else math.nan
        for k, name in enumerate(class_names(config.model))
    }


def best_overlaps(boxes, config):
    """Best IoU of any anchor of a Config with each box: float32 [N, 4] pixels of the network's input -> [N].

    Of all anchors of one level and shape the one whose centre is nearest overlaps a box most, so few are compared.
    """
    model, start, near = config.model, 0, []
    sizes = feature_sizes(model.image_size, model.max_level)
    anchors, shapes = head_of(config).anchors(config), model.num_scales * len(model.aspect_ratios)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    for height, width in sizes[model.min_level :]:
        stride = np.array(model.image_size) / (height, width)
        y, x = np.clip((centres / stride).astype(int), 0, (height - 1, width - 1)).T
        near.append(start + (y * width + x)[:, None] * shapes + np.arange(shapes))
        start += height * width * shapes
    return np.max(iou(boxes[:, None], anchors[np.concatenate(near, 1)]), (1, 2))


def _worst(shares):
    known = [share for share in shares.values() if not math.isnan(share)]
    return min(known, default=1.0)


def _jitter(split, config):
    """Share of objects that the scale jitter cuts away or makes too small to see (see augment.scale_jitter)."""
    rng, size = np.random.default_rng(config.train.seed), np.array(config.model.image_size)
    low, high, lost = config.data.jitter_min, config.data.jitter_max, []
    for image in split.images:
        boxes = image.clipped[image.learnable]
        for factor, *place in rng.uniform(size=(DRAWS, 3)):
            scale = _fit(image.size, size * (low + (high - low) * factor))
            offset = np.maximum(0, np.array(image.size) * scale - size) * place
            moved = np.clip(boxes * scale - np.tile(offset, 2), 0, np.tile(size, 2))
            lost.append(np.any(moved[:, 2:] - moved[:, :2] < GONE, 1))
    share = float(np.mean(np.concatenate(lost)))
    if share <= 0.5:
        return []
    return [
        Finding(
            'settings.jitter',
            'warning',
            f'scale jitter from {low} to {high} removes {share:.0%} of the boxes (below {GONE} '
            'pixels, or outside the image)',
            'bring jitter_min and jitter_max closer to 1, for example 0.8 and 1.25',
            split=split.name,
            numbers={'jitter_min': low, 'jitter_max': high, 'share': share},
        )
    ]
