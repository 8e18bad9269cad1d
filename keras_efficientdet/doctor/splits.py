"""Checks of training and validation data against each other."""

import collections

import numpy as np

from keras_efficientdet.doctor.findings import Finding

SAME_VIEW = 0.98  # correlation of 16 x 16 grey thumbnails; real pairs of other photos reach .90 (voc100), .75 (bccd)
_BLOCK = 1024


def check_splits(train, valid):
    """Findings about two Splits; `valid` may be None."""
    if not train.pictures:
        return [
            Finding(
                'no pictures',
                'error',
                f'{train.name} has no pictures',
                'check the path of the records',
            )
        ]
    findings = [_ids(split) for split in (train, valid) if split]
    if valid is None or not valid.pictures:
        found = 'there is no validation data' if valid is None else f'{valid.name} has no pictures'
        findings.append(
            Finding(
                'empty val',
                'error',
                found,
                'keep a fifth of the pictures aside: without them nothing says when '
                'to stop or which weights are best',
            )
        )
    else:
        findings.append(_shared(train, valid) or _near(train, valid))
    return [f for f in findings if f]


def _ids(split):
    again = [
        i for i, n in collections.Counter(p.id for p in split.pictures if p.id).items() if n > 1
    ]
    if not again:
        return None
    return Finding(
        'image ids',
        'error',
        f'{split.name}: {len(again)} image ids stand for more than one picture, like {again[0]}',
        'give each picture an id of its own: evaluation counts pictures of one id as one',
    )


def _shared(train, valid):
    shared = {p.digest for p in train.pictures} & {p.digest for p in valid.pictures}
    if not shared:
        return None
    inside = [p for p in valid.pictures if p.digest in shared]
    same = next(p for p in train.pictures if p.digest == inside[0].digest)
    fix = 'split anew, so that no picture is in both: val_AP on pictures that were trained on says nothing about new ones'
    if len(inside) == len(valid.pictures):
        return Finding(
            'train = val',
            'error',
            f'all {len(inside)} pictures of {valid.name} are in {train.name} too',
            fix,
        )
    return Finding(
        'shared pictures',
        'warning',
        f'{len(inside)} of {len(valid.pictures)} pictures of {valid.name} are in '
        f'{train.name} too, like {inside[0].called}, there {same.called}',
        fix,
    )


def _near(train, valid):
    ours, theirs = (
        [p for p in split.pictures if p.thumbnail is not None] for split in (train, valid)
    )
    if not ours or not theirs:
        return None
    bank, pairs = np.stack([p.thumbnail for p in ours]), []
    for start in range(0, len(theirs), _BLOCK):
        block = theirs[start : start + _BLOCK]
        likeness = np.stack([p.thumbnail for p in block]) @ bank.T
        best = likeness.argmax(1)
        pairs += [
            (ours[j].called, p.called)
            for p, j, row in zip(block, best, likeness, strict=True)
            if row[j] > SAME_VIEW
        ]
    if not pairs:
        return None
    return Finding(
        'near duplicates',
        'warning',
        f'{len(pairs)} of {len(valid.pictures)} pictures of {valid.name} look the same '
        f'as one of {train.name}, like {pairs[0][1]} and {pairs[0][0]}',
        'look at them; frames of one video and edited copies belong into one split',
    )
