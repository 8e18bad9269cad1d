"""All checks of the doctor together."""

from keras_efficientdet.data.records import count_examples
from keras_efficientdet.doctor.anchors import check_anchors
from keras_efficientdet.doctor.boxes import check_boxes
from keras_efficientdet.doctor.findings import Finding, report
from keras_efficientdet.doctor.labels import check_labels, check_names
from keras_efficientdet.doctor.settings import check_settings
from keras_efficientdet.doctor.split import Split, split_of_records, split_of_source
from keras_efficientdet.doctor.splits import check_splits
from keras_efficientdet.errors import DataError, MissingRecordsError

SAMPLE = 200  # pictures of each split, in the fast form
_MEANINGLESS = (
    'no pictures',
    'no boxes',
    'class ids',
    'crowds',
)  # errors of the training data that leave nothing to learn


def examine(train, valid, config, weights=None, fast=False):
    """What is wrong with data and settings, before an hour is spent on them.

    Args:
      train, valid: folders (or files) of TFRecords; valid may be None.
      config: Config. weights: what the training starts from, as `models.efficientdet` takes it.
      fast: looks at the first 200 pictures of each, and not for near duplicates. Else every record is read.
    Returns:
      list of Finding.
    Raises:
      DataError: there are no training records, or a picture cannot be read.
    """
    limit = SAMPLE if fast else None
    ours = split_of_records('train', train, limit, thumbnails=not fast)
    theirs = _valid_split(valid, limit, not fast)
    findings = check_splits(ours, theirs)
    if not ours.pictures:
        return findings
    findings += check_labels(ours, theirs, config.model)
    for split in (ours, theirs):
        if split is not None and split.pictures:
            findings += check_boxes(split, config)
    images = len(ours.pictures) if ours.whole else count_examples(train)
    return findings + check_anchors(ours, config) + check_settings(config, images, weights)


def _valid_split(valid, limit, thumbnails):
    if valid is None:
        return None
    try:
        return split_of_records('val', valid, limit, thumbnails)
    except MissingRecordsError:
        return Split('val', [], True, {})


def examine_source(source, config=None, name='annotations', fast=False):
    """What is wrong with annotations before they become records: sizes, box order, names.

    Args:
      source: a `records.Source`. config: a Config for limits, default Config(). name: what the findings call it.
      fast: looks at the first 200 pictures.
    Returns:
      list of Finding. What the records show as well is found by `examine` in the same words, if it is called the same.
    Raises:
      DataError: a picture cannot be read.
    """
    split = split_of_source(source, SAMPLE if fast else None, name)
    if not split.pictures:
        return [
            Finding('no pictures', 'error', f'{name} has no pictures', 'check the annotation file')
        ]
    return check_names(source.label_map) + check_boxes(split, config)


def before_training(train, valid, config, weights=None):
    """The fast form: prints what it finds. Raises DataError where the training data leave nothing to learn."""
    findings = examine(train, valid, config, weights, fast=True)
    print(report(findings))
    for finding in findings:
        if (
            finding.severity == 'error'
            and finding.key in _MEANINGLESS
            and not finding.found.startswith('val')
        ):
            raise DataError(f'{train}: {finding.found}; {finding.fix}')
