"""Checks of boxes as they are written, and of what was cut away when they were read."""

import numpy as np

from keras_efficientdet.config import Config
from keras_efficientdet.data.source import BOXES_CUT, BOXES_LEFT_OUT
from keras_efficientdet.doctor.findings import Finding

EDGE = 1.0  # pixels by which a box may leave its picture: rounding
MANY = 0.2  # share of faulty boxes from which the format is to blame and not a slip
_ORDER = (
    'look at the order of the numbers: corners (x1, y1, x2, y2) read as x, y, width, height leave the picture, x, y, '
    'width, height read as corners turn inside out, height and width swapped do both'
)


def check_boxes(split, config=None):
    """Findings about the boxes of a Split, and what a Config (default: Config()) makes of them."""
    config = config or Config()
    boxes = np.concatenate([np.zeros((0, 4)), *(p.boxes for p in split.pictures)])
    sizes = np.concatenate(
        [np.zeros((0, 4)), *(np.tile(p.size, (len(p.boxes), 2)) for p in split.pictures)]
    )
    crowd = np.concatenate([np.zeros(0, bool), *(p.crowd for p in split.pictures)])
    findings = [_sizes(split), _changes(split)]
    if len(boxes):
        findings += [
            _degenerate(split, boxes),
            _outside(split, boxes, sizes),
            _normalised(split, boxes),
            _whole_picture(split, boxes, sizes),
            _without_boxes(split),
            _too_many(split, config.detect.max_output_size),
        ]
        if config.data.skip_crowd_during_training and crowd.all():
            findings.append(
                Finding(
                    'crowds',
                    'error',
                    f'{split.name}: all {len(crowd)} boxes are crowds, which take no part in '
                    'training',
                    'set iscrowd to 0 for boxes around single objects',
                )
            )
    elif split.pictures:
        findings.append(
            Finding(
                'no boxes',
                'error',
                f'{split.name}: no box in {len(split.pictures)} pictures{_left_out(split)}',
                'check the paths, the image ids and the box format of the annotations',
            )
        )
    return [f for f in findings if f]


def _left_out(split):
    changes = split.summary.get('changes')
    return f' ({", ".join(f"{n} {what}" for what, n in changes.items() if n)})' if changes else ''


def _changes(split):
    """Boxes that reading left out or cut: a few are slips, many mean that the numbers were read in another order."""
    changes = split.summary.get('changes', {})
    left_out = sum(n for what, n in changes.items() if what in BOXES_LEFT_OUT)
    cut = sum(n for what, n in changes.items() if what in BOXES_CUT)
    total = split.summary.get('boxes', 0) + left_out
    if total and (left_out + cut) / total > MANY:
        return Finding(
            'box format',
            'error',
            f'{split.name}: of {total} boxes {left_out} were left out (no area, or outside '
            f'their picture) and {cut} cut to it, {(left_out + cut) / total:.0%}',
            _ORDER,
        )
    if left_out:
        return Finding(
            'boxes left out',
            'warning',
            f'{split.name}: {left_out} of {total} boxes were left out when reading'
            f'{_left_out(split)}',
            'mend or delete them in the annotations; the others are used',
        )
    return None


def _degenerate(split, boxes):
    bad = np.any(boxes[:, 2:] <= boxes[:, :2], 1)
    if not bad.any():
        return None
    return Finding(
        'degenerate boxes',
        'error' if bad.mean() > MANY else 'warning',
        f'{split.name}: {bad.sum()} of {len(bad)} boxes have no area or are inside out{_example(split, bad)}',
        _ORDER if bad.mean() > MANY else 'mend or delete them; they train nothing',
    )


def _outside(split, boxes, sizes):
    low, high = boxes[:, :2], boxes[:, 2:]
    bad = np.all(high > low, 1) & (np.any(low < -EDGE, 1) | np.any(high > sizes[:, :2] + EDGE, 1))
    if not bad.any():
        return None
    return Finding(
        'boxes out of the picture',
        'error' if bad.mean() > MANY else 'warning',
        f'{split.name}: {bad.sum()} of {len(bad)} boxes reach out of their picture{_example(split, bad)}',
        _ORDER if bad.mean() > MANY else 'cut them to the picture in the annotations',
    )


def _normalised(split, boxes):
    largest = np.abs(boxes[:, 2:] - boxes[:, :2]).max(1)
    if np.mean(largest < 2) <= 1 - MANY:
        return None
    return Finding(
        'normalised boxes',
        'error',
        f'{split.name}: {np.mean(largest < 2):.0%} of {len(boxes)} boxes are smaller '
        f'than 2 pixels, the largest has {largest.max():.2f}',
        'these look like fractions of the picture (0 to 1) that were read as pixels: multiply them by its size',
    )


def _whole_picture(split, boxes, sizes):
    whole = np.all(boxes[:, :2] <= 0.01 * sizes[:, :2], 1) & np.all(
        boxes[:, 2:] >= 0.99 * sizes[:, :2], 1
    )
    if whole.mean() <= 1 - MANY:
        return None
    return Finding(
        'boxes of the whole picture',
        'warning',
        f'{split.name}: {whole.mean():.0%} of {len(boxes)} boxes are the whole picture',
        'a picture without objects needs no box at all; pictures with one class each and no place '
        'are a data set for a classifier',
    )


def _without_boxes(split):
    share = np.mean([not len(p.boxes) for p in split.pictures])
    if share <= MANY / 2:
        return None
    return Finding(
        'pictures without boxes',
        'warning' if share > 0.5 else 'note',
        f'{split.name}: {share:.0%} of {len(split.pictures)} pictures have no box',
        'fine where they really show no object; else their '
        'annotations did not arrive: compare image ids and file names',
    )


def _too_many(split, most):
    fullest = max(split.pictures, key=lambda p: len(p.boxes))
    if len(fullest.boxes) <= most:
        return None
    return Finding(
        'many boxes',
        'warning',
        f'{split.name}: {fullest.called} has {len(fullest.boxes)} boxes, detection stops at {most}',
        f'set max_output_size={len(fullest.boxes)} or more',
    )


def _sizes(split):
    known = [p for p in split.pictures if p.stated]
    swapped = [p for p in known if p.stated != p.size and p.stated[::-1] == p.size]
    wrong = [p for p in known if p.stated != p.size]
    if not wrong:
        return None
    first = (swapped or wrong)[0]
    text = (
        'height and width are swapped'
        if len(swapped) * 2 > len(wrong)
        else 'the annotations say another size'
    )
    return Finding(
        'picture size',
        'error',
        f'{split.name}: {text} in {len(wrong)} of {len(known)} pictures; {first.called} is '
        f'{first.size[0]} high and {first.size[1]} wide, its annotation says {first.stated[0]} and {first.stated[1]}',
        'write the size of the stored picture (as decoded, without turning by EXIF), and boxes in its pixels',
    )


def _example(split, bad):
    owners = [(p.called, box) for p in split.pictures for box in p.boxes]
    name, box = owners[int(np.argmax(bad))]
    return f', like {np.round(box, 1).tolist()} (ymin xmin ymax xmax) of {name}'
