"""Looks for what is wrong with data and settings before hours are spent on them; says how to mend it.

Example:
  python tools/doctor.py --train=photos/train --valid=photos/val --weights=imagenet --set=batch_size=8 --output=checkup
  python tools/doctor.py --train=photos/train --weights=imagenet --overfit --output=checkup
  python tools/doctor.py --annotations=instances.json --images=photos/

Data that are no TFRecords yet are looked at twice: their annotations as they are written, and what training gets of them.
--output gets batch.png: a batch after augmentation, with the anchors that are told to find its boxes (yellow). --overfit trains
on eight pictures until it knows them by heart, and leaves the curve. Exit status 1 where there is an error.
"""

import pathlib
import sys

from absl import flags
from command import run
from PIL import Image

from keras_efficientdet import load_config, read_coco
from keras_efficientdet.data.cache import label_overrides, records_of, source_of
from keras_efficientdet.data.source import Source
from keras_efficientdet.doctor import examine, examine_source, findings_text, new_findings
from keras_efficientdet.doctor.batch import draw_batch
from keras_efficientdet.evaluation.report.learning_curves import save_curves
from keras_efficientdet.training.overfit import WANTED_AP50, overfit

_MODEL = flags.DEFINE_string(
    'model', 'efficientdet-lite0', 'Name of a configuration, or a yaml file.'
)
_TRAIN = flags.DEFINE_string(
    'train', None, 'Data to train on: folder, folder/split, or file of any known format.'
)
_VALID = flags.DEFINE_string('valid', None, 'Data to validate on.')
_WEIGHTS = flags.DEFINE_string('weights', None, 'What training starts from, as in train.py.')
_SET = flags.DEFINE_multi_string('set', [], 'key=value, any number of times; those of train.py.')
_OUTPUT = flags.DEFINE_string('output', None, 'Folder for pictures.')
_FAST = flags.DEFINE_bool(
    'fast', False, 'Look at the first 200 pictures only, and not for near duplicates.'
)
_OVERFIT = flags.DEFINE_bool(
    'overfit', False, 'Train on eight pictures of --train until AP50 is above 0.9.'
)
_STEPS = flags.DEFINE_integer('steps', 400, 'Most steps of --overfit.')
_ANNOTATIONS = flags.DEFINE_string(
    'annotations', None, 'COCO json file to look at before it becomes records.'
)
_IMAGES = flags.DEFINE_string('images', None, 'Folder with the pictures that it names.')


def main(_):
    if not (_TRAIN.value or _ANNOTATIONS.value):
        raise ValueError('nothing to look at: give --train, or --annotations and --images')
    config, findings = load_config(_MODEL.value, _SET.value), []
    if _ANNOTATIONS.value:
        findings += show(
            examine_source(
                read_coco(_ANNOTATIONS.value, _IMAGES.value or '.'), config, fast=_FAST.value
            )
        )
    if _TRAIN.value:
        data = {
            name: source_of(given) or given
            for name, given in (('train', _TRAIN.value), ('val', _VALID.value))
            if given
        }
        findings += [
            f
            for name, source in data.items()
            if isinstance(source, Source)
            for f in show(examine_source(source, config, name, _FAST.value))
        ]
        train, valid = (
            records_of(data[name]) if name in data else None for name in ('train', 'val')
        )
        findings += check(
            train, valid, load_config(config, [label_overrides(train), *_SET.value]), findings
        )
    sys.exit(any(f.severity == 'error' for f in findings))


def check(train, valid, config, known):
    """Findings about the records that are not `known`; the self-test's where it is asked for."""
    output = pathlib.Path(_OUTPUT.value) if _OUTPUT.value else None
    if output:
        output.mkdir(parents=True, exist_ok=True)
    if _OVERFIT.value:
        return self_test(train, config, output)
    findings = show(new_findings(examine(train, valid, config, _WEIGHTS.value, _FAST.value), known))
    if output:
        Image.fromarray(draw_batch(train, config)).save(output / 'batch.png')
        print(
            f'look at {output / "batch.png"}: yellow anchors should surround the objects, as the boxes do'
        )
    return findings


def self_test(train, config, output):
    result = overfit(train, config, weights=_WEIGHTS.value, steps=_STEPS.value)
    print(
        f'AP50 {result.ap50:.3f} (wanted above {WANTED_AP50}) after {result.curve[-1]["step"]} steps and '
        f'{result.seconds:.0f} s; loss {result.curve[0]["loss"]:.3f} -> {result.curve[-1]["loss"]:.3f}'
    )
    if output:
        result.save_curve(output / 'overfit.csv')
        save_curves(output / 'overfit.csv', output / 'overfit.png')
        print(f'the curve is in {output / "overfit.png"} (an epoch is 25 steps)')
    return show(result.findings) if result.findings else []


def show(findings):
    print(findings_text(findings))
    return findings


if __name__ == '__main__':
    run(main)
