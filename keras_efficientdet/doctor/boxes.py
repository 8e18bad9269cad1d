"""Checks of boxes as they are annotated, and of what the reader dropped or clipped."""

import numpy as np

from keras_efficientdet.config import Config
from keras_efficientdet.data.source import BOXES_CUT, BOXES_LEFT_OUT, BOXES_REVERSED
from keras_efficientdet.doctor.findings import Finding, counted
from keras_efficientdet.doctor.repeated import check_repeated
from keras_efficientdet.doctor.split import Split
from keras_efficientdet.network.heads import head_of

EDGE = 1.0  # pixels that a box may extend beyond its image: rounding, not a fault
MANY = 0.2  # share of faulty boxes above which their format is wrong, not single annotations
TINY = 2  # pixels; normalised coordinates are below it, and hardly any annotated box is
_ORDER = (
    'check the order of the coordinates: corners (x1, y1, x2, y2) read as x, y, width, height '
    'extend beyond the image; x, y, width, height read as corners turn inside out; swapped height '
    'and width do both'
)


def check_boxes(split: Split, config: Config | None = None) -> list[Finding]:
    """Findings about the boxes of a Split, and about what a Config (default: Config()) allows."""
    config = config or Config()
    findings = [_image_sizes(split), _changes(split)]
    finds = head_of(config).finds
    if any(len(image.boxes) for image in split.images):
        findings += _sizes_and_places(split, finds)
        findings += [
            _without_boxes(split),
            _too_many(split, config.detect.max_output_size),
            _all_crowd(split, config.data),
        ]
    elif split.images and finds != 'masks':
        findings.append(_none(split))
    return [finding for finding in findings if finding] + check_repeated(split)


def _sizes_and_places(split, finds):
    """Findings about boxes as such; points have none, and a segmentation does not use them."""
    if finds in ('points', 'masks'):
        return []
    boxes = np.concatenate([image.boxes for image in split.images])
    sizes = np.concatenate([np.tile(i.size, (len(i.boxes), 1)) for i in split.images])
    return [
        _degenerate(split, boxes),
        _outside(split, boxes, sizes),
        _normalised(split, boxes),
        None if finds == 'images' else _whole_image(split, boxes, sizes),
    ]


def _none(split):
    changes = _nonzero_changes(split)
    return Finding(
        'boxes.none',
        'error',
        f'{split.name}: no box in {counted(len(split.images), "image")}'
        + (f' ({changes})' if changes else ''),
        'check the paths, the image ids and the box format of the annotations',
        split=split.name,
        numbers={'images': len(split.images)},
    )


def _all_crowd(split, data):
    crowd = np.concatenate([image.crowd for image in split.images])
    if not (data.skip_crowd_during_training and crowd.all()):
        return None
    return Finding(
        'boxes.all_crowd',
        'error',
        f'{split.name}: all {len(crowd)} boxes are crowd regions (iscrowd=1), which training '
        'ignores',
        'set iscrowd to 0 for boxes around single objects',
        split=split.name,
        numbers={'boxes': len(crowd)},
    )


def _nonzero_changes(split):
    """'3 boxes of zero size, left out, ...', or '' where the reader changed nothing."""
    changes = split.summary.get('changes') or {}
    return ', '.join(f'{count} {change}' for change, count in changes.items() if count)


def _changes(split):
    """Boxes that the reader dropped, clipped or turned round.

    A few are slips of an annotator; many mean that the coordinates were read in the wrong order.
    """
    changes = split.summary.get('changes', {})
    dropped, clipped, turned = (
        sum(count for change, count in changes.items() if change in kinds)
        for kinds in (BOXES_LEFT_OUT, BOXES_CUT, BOXES_REVERSED)
    )
    total = split.summary.get('boxes', 0) + dropped
    numbers = {'boxes': total, 'dropped': dropped, 'clipped': clipped, 'swapped': turned}
    odd = dropped + max(clipped, turned)  # a box may be both
    if total and odd / total > MANY:
        return Finding(
            'boxes.format',
            'error',
            f'{split.name}: {odd / total:.0%} of {total} boxes do not fit their images: {dropped} '
            f'were dropped (no area, or outside the image), {turned} had swapped corners, and '
            f'{clipped} were clipped to the image',
            _ORDER,
            split=split.name,
            numbers=numbers,
        )
    if dropped:
        return Finding(
            'boxes.left_out',
            'warning',
            f'{split.name}: {dropped} of {total} boxes were dropped when the annotations were '
            f'read ({_nonzero_changes(split)})',
            'correct or delete them in the annotations; all other boxes are used',
            split=split.name,
            numbers=numbers,
        )
    return None


def _degenerate(split, boxes):
    bad = np.any(boxes[:, 2:] <= boxes[:, :2], 1)
    if not bad.any():
        return None
    many = bad.mean() > MANY
    return Finding(
        'boxes.degenerate',
        'error' if many else 'warning',
        f'{split.name}: {bad.sum()} of {len(bad)} boxes have no area or are inside out'
        f'{_example(split, bad)}',
        _ORDER
        if many
        else 'correct or delete them in the annotations: nothing is learned from them',
        split=split.name,
        numbers=_counts(bad),
    )


def _outside(split, boxes, sizes):
    low, high = boxes[:, :2], boxes[:, 2:]
    proper = np.all(high > low, 1)  # the others are degenerate, which is reported already
    bad = proper & (np.any(low < -EDGE, 1) | np.any(high > sizes + EDGE, 1))
    if not bad.any():
        return None
    many = bad.mean() > MANY
    return Finding(
        'boxes.outside',
        'error' if many else 'warning',
        f'{split.name}: {bad.sum()} of {len(bad)} boxes extend beyond their image'
        f'{_example(split, bad)}',
        _ORDER if many else 'clip them to the image in the annotations',
        split=split.name,
        numbers=_counts(bad),
    )


def _normalised(split, boxes):
    longest = np.abs(boxes[:, 2:] - boxes[:, :2]).max(1)
    share = float(np.mean(longest < TINY))
    if share <= 1 - MANY:
        return None
    return Finding(
        'boxes.normalised',
        'error',
        f'{split.name}: {share:.0%} of {len(boxes)} boxes are smaller than {TINY} pixels; the '
        f'longest side of any box is {longest.max():.2f} pixels',
        'these look like normalised coordinates (0 to 1) read as pixels: multiply x by the image '
        'width and y by its height',
        split=split.name,
        numbers={'share': share, 'boxes': len(boxes), 'longest_side': float(longest.max())},
    )


def _whole_image(split, boxes, sizes):
    starts_at_0 = np.all(boxes[:, :2] <= 0.01 * sizes, 1)
    share = float(np.mean(starts_at_0 & np.all(boxes[:, 2:] >= 0.99 * sizes, 1)))
    if share <= 1 - MANY:
        return None
    return Finding(
        'boxes.whole_image',
        'warning',
        f'{split.name}: {share:.0%} of {len(boxes)} boxes cover their whole image',
        'an image without objects needs no box at all; images with a class but no location are '
        'data for a classifier (such as efficientnet-b0), not for a detector',
        split=split.name,
        numbers={'share': share, 'boxes': len(boxes)},
    )


def _without_boxes(split):
    empty = sum(not len(image.boxes) for image in split.images)
    share = empty / len(split.images)
    if share <= MANY / 2:
        return None
    return Finding(
        'images.without_boxes',
        'warning' if share > 0.5 else 'note',
        f'{split.name}: {share:.0%} of {len(split.images)} images have no box',
        'this is fine if they really show no object; otherwise their annotations were not found: '
        'compare image ids and file names',
        split=split.name,
        numbers={'without_boxes': empty, 'images': len(split.images)},
    )


def _too_many(split, most):
    fullest = max(split.images, key=lambda image: len(image.boxes))
    count = len(fullest.boxes)
    if count <= most:
        return None
    return Finding(
        'boxes.too_many',
        'warning',
        f'{split.name}: {fullest.title} has {count} boxes, but detection returns at most {most} '
        'in an image',
        f'set max_output_size={count} or more',
        split=split.name,
        numbers={'boxes': count, 'max_output_size': most},
    )


def _image_sizes(split):
    annotated = [image for image in split.images if image.annotated_size]
    wrong = [image for image in annotated if image.annotated_size != image.size]
    if not wrong:
        return None
    swapped = [image for image in wrong if image.annotated_size[::-1] == image.size]
    mostly_swapped = len(swapped) * 2 > len(wrong)
    example = (swapped or wrong)[0]
    text = 'height and width are swapped' if mostly_swapped else 'the annotated size is wrong'
    height, width = example.size
    other_height, other_width = example.annotated_size
    return Finding(
        'images.size',
        'error',
        f'{split.name}: {text} in {len(wrong)} of {len(annotated)} images; {example.title} is '
        f'{height} high and {width} wide, but annotated as {other_height} high and {other_width} '
        'wide',
        'annotate the size of the stored image, as decoded without applying its EXIF orientation, '
        'and give boxes in pixels of that image',
        split=split.name,
        numbers={'wrong': len(wrong), 'images': len(annotated), 'swapped': len(swapped)},
    )


def _counts(bad):
    return {'faulty': int(bad.sum()), 'boxes': len(bad)}


def _example(split, bad):
    """', for example ...': the first bad box and its image; bad: bool [boxes of the split]."""
    owners = [(image.title, box) for image in split.images for box in image.boxes]
    title, box = owners[int(np.argmax(bad))]
    return f', for example {np.round(box, 1).tolist()} (ymin, xmin, ymax, xmax) of {title}'
