"""All checks together."""

import collections.abc
import logging

from keras_efficientdet.config import Config
from keras_efficientdet.data.records import Place, count_examples
from keras_efficientdet.data.source import Source
from keras_efficientdet.doctor.anchors import check_anchors
from keras_efficientdet.doctor.boxes import check_boxes
from keras_efficientdet.doctor.findings import Finding, findings_text, ids_of, without
from keras_efficientdet.doctor.labels import UNKNOWN_IDS, check_labels, check_names
from keras_efficientdet.doctor.settings import check_settings
from keras_efficientdet.doctor.split import Split, split_of_records, split_of_source
from keras_efficientdet.doctor.splits import check_splits, repeated_ids
from keras_efficientdet.errors import DataError, MissingRecordsError
from keras_efficientdet.network.heads import head_of

_log = logging.getLogger(__name__)

SAMPLE = 200  # images of each split that the fast form looks at
# Errors of the training data that leave nothing to learn.
_NOTHING_TO_LEARN = {'images.none', 'boxes.none', 'boxes.all_crowd', *UNKNOWN_IDS}


def examine(
    train: Place,
    valid: Place | None,
    config: Config,
    weights=None,
    fast: bool = False,
    skip: collections.abc.Iterable[str] = (),
) -> list[Finding]:
    """Finds faults of data and settings that would waste or spoil a training.

    Args:
      train: folder or files of TFRecords.
      valid: the same for validation, or None. A place without records counts as none.
      config: Config of the training.
      weights: what the training starts from, as `efficientdet` takes it.
      fast: look at the first 200 images of each split, and not for near duplicates; otherwise
        every record is read.
      skip: ids of findings to leave out, such as 'boxes.outside', or areas such as 'boxes'.
    Raises:
      DataError: there are no training records, or an image cannot be read.
      ValueError: `skip` has a name that is neither an id nor an area.
    """
    skipped = ids_of(skip)  # refuses an unknown name before the images are read
    limit = SAMPLE if fast else None
    # Near duplicates need a thumbnail of every image, by far the longest part.
    thumbnails = not fast and 'splits.near_duplicates' not in skipped
    ours = split_of_records('train', train, limit, thumbnails)
    theirs = _valid_split(valid, limit, thumbnails)
    findings = check_splits(ours, theirs)
    if ours.images:
        of_boxes = head_of(config).finds != 'masks'
        findings += check_labels(ours, theirs, config.model, counts=of_boxes)
        for split in (ours, theirs):
            if split is not None and split.images:
                findings += check_boxes(split, config)
        findings += check_anchors(ours, config)
        images = len(ours.images) if ours.whole else count_examples(train)
        findings += check_settings(config, images, weights)
    return without(findings, skip)


def _valid_split(valid, limit, thumbnails):
    if valid is None:
        return None
    try:
        return split_of_records('val', valid, limit, thumbnails)
    except MissingRecordsError:
        return Split('val', [], whole=True, summary={})


def examine_source(
    source: Source,
    config: Config | None = None,
    name: str = 'annotations',
    fast: bool = False,
    skip: collections.abc.Iterable[str] = (),
) -> list[Finding]:
    """Finds faults of annotations before they are converted: image sizes, boxes, names.

    `examine` repeats what the records show as well: `findings.new_findings` tells which of its
    findings are new, if `name` is that of the split there ('train' or 'val').

    Args:
      source: a `Source`, as the readers return it.
      config: Config of the training; default: Config().
      name: what findings call these data.
      fast: look at the first 200 images.
      skip: as of `examine`.
    Raises:
      DataError: an image cannot be read.
      ValueError: `skip` has a name that is neither an id nor an area.
    """
    ids_of(skip)  # refuses an unknown name before the images are read
    split = split_of_source(source, SAMPLE if fast else None, name)
    if split.images:
        findings = check_names(source.label_map) + check_boxes(split, config)
        findings += filter(None, [repeated_ids(split)])
    else:
        text = f'{name}: there are no images'
        findings = [Finding('images.none', 'error', text, 'check the annotation file', split=name)]
    return without(findings, skip)


def before_training(
    train: Place,
    valid: Place | None,
    config: Config,
    weights=None,
    skip: collections.abc.Iterable[str] = (),
) -> None:
    """Logs what `examine(..., fast=True)` finds.

    Raises:
      DataError: the training data leave nothing to learn, and `skip` does not exclude the reason;
        and what `examine` raises.
    """
    findings = examine(train, valid, config, weights, fast=True, skip=skip)
    only_notes = all(finding.severity == 'note' for finding in findings)
    # As a warning it is seen where a program has not configured logging.
    _log.log(logging.INFO if only_notes else logging.WARNING, '%s', findings_text(findings))
    for finding in findings:
        if finding.id in _NOTHING_TO_LEARN and finding.split == 'train':
            raise DataError(f'{train}: {finding.found}; {finding.fix}')
