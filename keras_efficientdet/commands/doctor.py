"""Finds faults in data and settings before hours are spent on them, and says how to fix them.

Examples:
  efficientdet doctor --train=photos/train --valid=photos/val --weights=imagenet --output=checkup \\
      batch_size=8
  efficientdet doctor --train=photos/train --weights=imagenet --overfit --output=checkup
  efficientdet doctor --annotations=instances.json --images=photos/ --skip=labels.gap,boxes

Data that are not TFRecords are examined twice: the annotations as they are written, and what
training gets from them. --output receives batch.png: a batch after augmentation, with the anchors
that are matched to its boxes (yellow). --overfit trains on eight images until they are detected
almost perfectly, and saves the curve. The exit status is 1 if an error is found.
"""

import logging
import pathlib

from PIL import Image

from keras_efficientdet.commands import command
from keras_efficientdet.config import load_config
from keras_efficientdet.data.cache import label_overrides, records_of
from keras_efficientdet.data.data_set import source_of
from keras_efficientdet.data.formats.coco import read_coco
from keras_efficientdet.data.source import Source
from keras_efficientdet.doctor import examine, examine_source, findings_text, new_findings
from keras_efficientdet.doctor.batch import draw_batch
from keras_efficientdet.evaluation.report.learning_curves import save_curves
from keras_efficientdet.network.heads import has_masks
from keras_efficientdet.training.overfit import WANTED_AP50, overfit

_log = logging.getLogger(__name__)


def define(flags):
    flags.DEFINE_string(
        'model', 'efficientdet-lite0', 'Name of a configuration, or path of a yaml file.'
    )
    flags.DEFINE_string(
        'train', None, 'Data to train on: folder, folder/split, or file of any known format.'
    )
    flags.DEFINE_string('valid', None, 'Data to validate on.')
    flags.DEFINE_string(
        'weights', None, 'What the training starts from, as in `efficientdet train`.'
    )
    command.define_set(
        flags, 'key=value of the configuration, as in `efficientdet train`; may be repeated.'
    )
    flags.DEFINE_multi_string(
        'skip',
        [],
        'Findings to leave out, by id or by the first part of it: labels.gap or labels; '
        'comma-separated, or repeated.',
    )
    flags.DEFINE_string('output', None, 'Folder for images and curves.')
    flags.DEFINE_bool(
        'fast', False, 'Examine the first 200 images only, and do not look for near duplicates.'
    )
    flags.DEFINE_bool('overfit', False, 'Train on eight images of --train until AP50 is above 0.9.')
    flags.DEFINE_integer('steps', 400, 'Most steps of --overfit.')
    flags.DEFINE_string(
        'annotations', None, 'COCO json file to examine before it is converted to records.'
    )
    flags.DEFINE_string('images', None, 'Folder of the images that the json file names.')
    command.define_json(flags)


def main(given):
    if not (given.train or given.annotations):
        raise ValueError('nothing to examine: give --train, or --annotations and --images')
    skip = [name.strip() for text in given.skip for name in text.split(',')]
    config = load_config(given.model, given.set)
    findings = []
    if given.annotations:
        source = read_coco(given.annotations, given.images or '.')
        findings += _shown(examine_source(source, config, fast=given.fast, skip=skip))
    if given.train:
        findings += _of_data(given, config, skip)
    failed = any(finding.severity == 'error' for finding in findings)
    return command.Outcome([finding.to_dict() for finding in findings], failed)


def _shown(findings):
    _log.info('%s', findings_text(findings))
    return findings


def _of_data(given, config, skip):
    """Findings about --train and --valid: first the annotations, then what training gets."""
    masks = has_masks(config)
    data = {'train': source_of(given.train, masks) or given.train}
    if given.valid:
        data['val'] = source_of(given.valid, masks) or given.valid
    findings = []
    for name, source in data.items():
        if isinstance(source, Source):
            findings += _shown(examine_source(source, config, name, given.fast, skip))
    train = records_of(data['train'], masks=masks)
    valid = records_of(data['val'], masks=masks) if given.valid else None
    config = load_config(config, [label_overrides(data['train']), *given.set])
    output = pathlib.Path(given.output) if given.output else None
    if output:
        output.mkdir(parents=True, exist_ok=True)
    if given.overfit:
        return findings + _self_test(train, config, output, given)
    found = examine(train, valid, config, given.weights, given.fast, skip)
    findings += _shown(new_findings(found, findings))
    if output:
        Image.fromarray(draw_batch(train, config)).save(output / 'batch.png')
        _log.info(
            'look at %s: yellow anchors should surround the objects, as the boxes do',
            output / 'batch.png',
        )
    return findings


def _self_test(train, config, output, given):
    result = overfit(train, config, weights=given.weights, steps=given.steps)
    first, last = result.curve[0], result.curve[-1]
    _log.info(
        'AP50 %.3f (wanted above %s) after %d steps and %.0f s; loss %.3f -> %.3f',
        result.ap50,
        WANTED_AP50,
        last['step'],
        result.seconds,
        first['loss'],
        last['loss'],
    )
    if output:
        result.save_curve(output / 'overfit.csv')
        save_curves(output / 'overfit.csv', output / 'overfit.png')
        _log.info('the curve is in %s (an epoch is 25 steps)', output / 'overfit.png')
    return _shown(result.findings) if result.findings else []
