"""Do anchors reach the boxes of each class, before augmentation and after scale jitter?"""

import math

import numpy as np

from keras_efficientdet.config import Config, class_ids, class_names, load_config
from keras_efficientdet.doctor.findings import Finding
from keras_efficientdet.doctor.split import Split
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.ops.anchors import feature_sizes
from keras_efficientdet.ops.boxes import iou
from keras_efficientdet.ops.matching import POSITIVE_IOU

CANDIDATE_SCALES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)  # values of anchor_scale to suggest
ENOUGH = 0.9  # share of covered boxes below which a class trains badly
FEW = 10  # boxes of a class below which its share means little
GONE = 2  # pixels of the network's input; a box with a shorter side shows nothing
DRAWS = 16  # draws of the scale jitter for each image


def check_anchors(split: Split, config: Config) -> list[Finding]:
    """Findings about a Split under the anchors and the scale jitter of a Config.

    Anchors are only checked for a head that has some.
    """
    boxes, classes = learnable_boxes(split, config)
    if not len(boxes):
        return []
    findings = [_jitter(split, config)]
    if head_of(config).anchors:
        boxes, classes = _without_rare_classes(boxes, classes)
        findings.append(_coverage(split, boxes, classes, config))
    return [finding for finding in findings if finding]


def _without_rare_classes(boxes, classes):
    """Boxes and classes without those of rare classes, unless all classes are rare."""
    enough = np.bincount(classes)[classes] >= FEW
    return (boxes[enough], classes[enough]) if enough.any() else (boxes, classes)


def _coverage(split, boxes, classes, config):
    table = coverage(boxes, classes, config)
    scale, shares = next(iter(table.items()))
    poor = {name: share for name, share in shares.items() if share < ENOUGH}
    if not poor:
        return Finding(
            'anchors.coverage',
            'note',
            f'{split.name}: anchors with anchor_scale {scale} cover at least {_worst(shares):.2f} '
            f'of the boxes of each class (IoU >= {POSITIVE_IOU})',
            'leave anchor_scale as it is',
            split=split.name,
            numbers=_numbers(scale, shares),
        )
    listed = ', '.join(f'{name} {share:.2f}' for name, share in poor.items())
    return Finding(
        'anchors.coverage',
        'warning',
        f'{split.name}: anchors with anchor_scale {scale} {_size_against(boxes, config)}cover too '
        f'few boxes (share with IoU >= {POSITIVE_IOU}: {listed}); classes below {ENOUGH} train '
        'badly',
        _better_scale(table),
        split=split.name,
        numbers=_numbers(scale, poor),
    )


def _better_scale(table):
    """What to do about the configured scale, which is the first of the table."""
    worst = {scale: _worst(shares) for scale, shares in table.items()}
    current = next(iter(worst))
    best = max(worst, key=worst.get)
    if worst[best] <= worst[current] + 0.02:
        return 'no other anchor_scale is better; try a larger image_size'
    return f'set anchor_scale={best}: it covers at least {worst[best]:.2f} of each class'


def _worst(shares):
    """The share of the class that is covered least."""
    return min((share for share in shares.values() if not math.isnan(share)), default=1.0)


def _numbers(anchor_scale, shares):
    per_level = isinstance(anchor_scale, tuple)
    known = {name: share for name, share in shares.items() if not math.isnan(share)}
    return {
        'anchor_scale': list(anchor_scale) if per_level else anchor_scale,
        'coverage': known,
    }


def _size_against(boxes, config):
    """'are too large (...) and ' or the like, if all anchors are larger than the missed boxes."""
    anchors = _sides(head_of(config).anchors(config))
    missed = boxes[best_overlaps(boxes, config) < POSITIVE_IOU]
    side = float(np.median(_sides(missed)))
    median = f'boxes not covered have a median side of {side:.0f} px'
    if side < anchors.min():
        return f'are too large ({median}, the smallest anchor {anchors.min():.0f} px) and '
    if side > anchors.max():
        return f'are too small ({median}, the largest anchor {anchors.max():.0f} px) and '
    return ''


def _sides(boxes):
    """Sides of squares of the same area as boxes [N, 4]."""
    return np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], 1))


def learnable_boxes(split: Split, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """The boxes of a Split that training learns from.

    Returns:
      boxes float32 [N, 4] in pixels of the network's input, classes int64 [N], 0-based.
    """
    class_of = {category_id: k for k, category_id in enumerate(class_ids(config.model))}
    boxes, classes = [np.zeros((0, 4))], []
    for image in split.images:
        chosen = [
            i for i, label in enumerate(image.labels) if label in class_of and image.learnable[i]
        ]
        boxes.append(image.clipped[chosen] * _fit(image.size, config.model.image_size))
        classes += [class_of[image.labels[i]] for i in chosen]
    return np.concatenate(boxes).astype(np.float32), np.array(classes, np.int64)


def _fit(size, target):
    """The scale at which an image of `size` fits into `target`."""
    return min(target[0] / size[0], target[1] / size[1])


def coverage(boxes: np.ndarray, classes: np.ndarray, config: Config) -> dict:
    """Share of the boxes of each class that some anchor covers with IoU >= 0.5.

    A box that no anchor covers is trained with a single forced anchor.

    Args:
      boxes, classes: as `learnable_boxes` returns them.
    Returns:
      {anchor_scale: {class name: share, nan where the class does not occur}}, the configured scale
      first, then CANDIDATE_SCALES.
    """
    scales = dict.fromkeys((config.model.anchor_scale, *CANDIDATE_SCALES))
    return {
        scale: _by_class(boxes, classes, load_config(config, {'anchor_scale': scale}))
        for scale in scales
    }


def _by_class(boxes, classes, config):
    covered = best_overlaps(boxes, config) >= POSITIVE_IOU
    shares = {}
    for k, name in enumerate(class_names(config.model)):
        own = classes == k
        shares[name] = float(np.mean(covered[own])) if own.any() else math.nan
    return shares


def best_overlaps(boxes: np.ndarray, config: Config) -> np.ndarray:
    """Best IoU of any anchor of a Config with each box.

    Of all anchors of one level and shape, the one with the nearest centre overlaps a box most, so
    only those are compared.

    Args:
      boxes: float32 [N, 4] in pixels of the network's input.
    Returns:
      float32 [N].
    """
    model = config.model
    anchors_of = head_of(config).anchors
    assert anchors_of  # `check_anchors` asks first
    anchors = anchors_of(config)
    shapes = model.num_scales * len(model.aspect_ratios)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    start, nearest = 0, []  # first anchor of a level; indices [N, shapes] of each level
    for height, width in feature_sizes(model.image_size, model.max_level)[model.min_level :]:
        stride = np.array(model.image_size) / (height, width)
        y, x = np.clip((centres / stride).astype(int), 0, (height - 1, width - 1)).T
        nearest.append(start + (y * width + x)[:, None] * shapes + np.arange(shapes))
        start += height * width * shapes
    return np.max(iou(boxes[:, None], anchors[np.concatenate(nearest, 1)]), (1, 2))


def _jitter(split, config):
    """Boxes that scale jitter crops away or makes too small to see (see augment.scale_jitter)."""
    low, high = config.data.jitter_min, config.data.jitter_max
    rng = np.random.default_rng(config.train.seed)
    gone = [_gone(image, config.model, low, high, rng) for image in split.images]
    share = float(np.mean(np.concatenate(gone)))
    if share <= 0.5:
        return None
    return Finding(
        'settings.jitter',
        'warning',
        f'scale jitter from {low} to {high} removes {share:.0%} of the boxes (a side below {GONE} '
        'pixels, or outside the crop)',
        'bring jitter_min and jitter_max closer to 1, for example 0.8 and 1.25',
        split=split.name,
        numbers={'jitter_min': low, 'jitter_max': high, 'share': share},
    )


def _gone(image, model, low, high, rng):
    """bool [DRAWS * N]: which learnable boxes of an image draws of the jitter remove."""
    target = np.array(model.image_size)
    boxes = image.clipped[image.learnable]
    gone = []
    for factor, *place in rng.uniform(size=(DRAWS, 3)):
        scale = _fit(image.size, target * (low + (high - low) * factor))
        offset = np.maximum(0, np.array(image.size) * scale - target) * place
        moved = np.clip(boxes * scale - np.tile(offset, 2), 0, np.tile(target, 2))
        gone.append(np.any(moved[:, 2:] - moved[:, :2] < GONE, 1))
    return np.concatenate(gone)
