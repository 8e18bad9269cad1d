"""Checks of training and validation data against each other."""

import collections
import re

import numpy as np

from keras_efficientdet.doctor.findings import Finding, counted
from keras_efficientdet.doctor.split import Split

# Correlation of 16 x 16 grey thumbnails from which two images count as near duplicates. Different
# images of real data sets reach 0.90 (voc100) and 0.75 (bccd).
SAME_VIEW = 0.98
_BLOCK = 1024  # validation images compared at a time, which bounds the matrix in memory


def check_splits(train: Split, valid: Split | None) -> list[Finding]:
    """Findings about two Splits; `valid` may be None."""
    if not train.images:
        return [
            Finding(
                'images.none',
                'error',
                f'{train.name}: there are no images',
                'check the path of the records',
                split=train.name,
            )
        ]
    findings = [repeated_ids(split) for split in (train, valid) if split]
    if valid is None or not valid.images:
        findings.append(_no_validation(valid))
    else:
        findings.append(_shared(train, valid) or _near_duplicates(train, valid))
    return [finding for finding in findings if finding]


def _no_validation(valid):
    return Finding(
        'splits.no_validation',
        'error',
        'there are no validation data' if valid is None else f'{valid.name}: there are no images',
        'hold out a fifth of the images: without validation data nothing shows when to stop '
        'training or which weights are best',
        split='val' if valid is None else valid.name,
    )


def repeated_ids(split: Split) -> Finding | None:
    """A finding about images that evaluation cannot tell apart, or None."""
    written = collections.defaultdict(list)
    for image in split.images:
        if image.id:
            written[_as_evaluated(image.id)].append(image.id)
    repeated = [' and '.join(dict.fromkeys(ids)) for ids in written.values() if len(ids) > 1]
    if not repeated:
        return None
    alike = ', which are the same number' if ' and ' in repeated[0] else ''
    return Finding(
        'images.repeated_id',
        'error',
        f'{split.name}: {counted(len(repeated), "image id")} used for more than one image, for '
        f'example id {repeated[0]}{alike}',
        'give every image an id of its own: evaluation matches detections to images by id',
        split=split.name,
        numbers={'ids': len(repeated), 'example': repeated[0]},
    )


def _as_evaluated(image_id):
    """A number where the id is one: COCO's evaluation takes no texts (`records.parse`)."""
    return int(image_id) if re.fullmatch('-?[0-9]{1,18}', image_id) else image_id


def _shared(train, valid):
    by_digest = {image.digest: image for image in reversed(train.images)}
    shared = [image for image in valid.images if image.digest in by_digest]
    if not shared:
        return None
    numbers = {'shared': len(shared), 'images': len(valid.images)}
    fix = (
        'split again so that no image is in both: AP on images that were trained on does not '
        'predict AP on new ones'
    )
    if len(shared) == len(valid.images):
        return Finding(
            'splits.same',
            'error',
            f'{valid.name}: all {len(shared)} images are also in {train.name}',
            fix,
            split=valid.name,
            numbers=numbers,
        )
    example = shared[0]
    return Finding(
        'splits.shared',
        'warning',
        f'{valid.name}: {len(shared)} of {len(valid.images)} images are also in {train.name}, for '
        f'example {example.title}, which is {by_digest[example.digest].title} there',
        fix,
        split=valid.name,
        numbers=numbers,
    )


def _near_duplicates(train, valid):
    pairs = _similar_pairs(train, valid)
    if not pairs:
        return None
    first, like = pairs[0]
    return Finding(
        'splits.near_duplicates',
        'warning',
        f'{valid.name}: {len(pairs)} of {len(valid.images)} images look almost the same as an '
        f'image of {train.name}, for example {first.title} and there {like.title}',
        'look at these pairs; frames of one video and edited copies of one image belong in the '
        'same split',
        split=valid.name,
        numbers={'near_duplicates': len(pairs), 'images': len(valid.images)},
    )


def _similar_pairs(train, valid):
    """[(image of valid, the image of train most like it)] where both look almost the same."""
    ours = [image for image in train.images if image.thumbnail is not None]
    theirs = [image for image in valid.images if image.thumbnail is not None]
    if not ours or not theirs:
        return []
    bank = np.stack([image.thumbnail for image in ours])
    pairs = []
    for start in range(0, len(theirs), _BLOCK):
        block = theirs[start : start + _BLOCK]
        # Thumbnails have mean 0 and length 1, so a product is a correlation.
        correlation = np.stack([image.thumbnail for image in block]) @ bank.T
        for image, row in zip(block, correlation, strict=True):
            nearest = row.argmax()
            if row[nearest] > SAME_VIEW:
                pairs.append((image, ours[nearest]))
    return pairs
