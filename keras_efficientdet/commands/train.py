"""Trains a detector on a data set of any known format, or on TFRecords.

Example:
  efficientdet train --train=photos/train --valid=photos/val --workdir=runs/first \\
      --weights=imagenet batch_size=8 num_epochs=12 optimizer=adam learning_rate=0.024 \\
      anchor_scale=2.0

photos/train is a folder, or the split `train` of the data set in photos/. TFRecords may come from
`efficientdet records` or from the official converters. Every key of the configuration
(keras_efficientdet/config/schema.py) can be set; --hparams takes what the official programs take.
Learning rates are for a batch of 64 and scale with the batch size.
"""

import logging
import os
import pathlib

import yaml

from keras_efficientdet.commands import command
from keras_efficientdet.commands.set_aside import set_aside
from keras_efficientdet.config import load_config
from keras_efficientdet.config.official import from_official
from keras_efficientdet.config.schema import DetectConfig
from keras_efficientdet.data.cache import label_overrides, records_of
from keras_efficientdet.data.data_set import source_of
from keras_efficientdet.data.pipeline import dataset
from keras_efficientdet.data.records import count_examples
from keras_efficientdet.evaluation import coco
from keras_efficientdet.files import replaced_file
from keras_efficientdet.network.heads import has_masks, head_of
from keras_efficientdet.network.trained import load_trained
from keras_efficientdet.training import fit, is_chief, strategy_for
from keras_efficientdet.training.batch_size import batch_for
from keras_efficientdet.training.recipes import RECIPES, explain, recipe
from keras_efficientdet.training.resume import checkpoints_in
from keras_efficientdet.weights.released import released_config, released_sets

_log = logging.getLogger(__name__)


def define(flags):
    flags.DEFINE_string(
        'model', 'efficientdet-lite0', 'Name of a configuration, or path of a yaml file.'
    )
    flags.DEFINE_string(
        'train',
        None,
        'Data to train on: folder, folder/split, or file of any known format.',
        required=True,
    )
    flags.DEFINE_string(
        'valid',
        None,
        'Data to evaluate on after each epoch; default: a fifth of --train, drawn by train.seed.',
    )
    flags.DEFINE_string('workdir', None, 'Folder for weights, logs and the report.', required=True)
    flags.DEFINE_string(
        'weights',
        None,
        'imagenet, coco, an official checkpoint, or a .weights.h5 file; default: random weights.',
    )
    command.define_set(flags, 'key=value of the configuration; may be repeated.')
    flags.DEFINE_string(
        'hparams',
        '',
        'Official hparams, "a=1,b.c=2" or a yaml file; --set is applied after them.',
    )
    flags.DEFINE_enum(
        'recipe',
        None,
        sorted(RECIPES),
        'Settings chosen by the size of the data; --set and --hparams override them.',
    )
    flags.DEFINE_integer('evaluate_every', 1, 'Epochs between evaluations.')
    flags.DEFINE_enum(
        'strategy',
        'auto',
        ['auto', 'one', 'mirrored', 'multi_worker', 'tpu'],
        'One device or several; auto looks at TF_CONFIG, TPU_NAME and the GPUs (docs/TRAINING.md).',
    )
    flags.DEFINE_bool(
        'auto_batch',
        False,
        'Measure the largest batch_size that fits into memory and leaves ten steps per epoch.',
    )
    flags.DEFINE_string('test', None, 'Data on which the best weights are evaluated at the end.')


def main(given):
    if given.auto_batch:
        # Otherwise TensorFlow takes all of a GPU and leaves none for the measuring process.
        os.environ.setdefault('TF_FORCE_GPU_ALLOW_GROWTH', 'true')
    # First of all: workers cannot be joined once TensorFlow has done anything else.
    strategy = strategy_for(given.strategy)
    settings = [_converted(given), *given.set]
    masks = has_masks(load_config(given.model, settings))
    data = source_of(given.train, masks) or given.train
    train, valid = train_and_valid(data, given, settings)
    labels = label_overrides(data)
    if given.auto_batch:
        settings.append(_batch_size(train, labels, settings, strategy, given))
    config, chosen = configured(train, labels, settings, given)
    if chosen:
        _log.info('%s', chosen)
    history = fit(
        config,
        train,
        valid,
        given.workdir,
        weights=given.weights,
        evaluate_every=given.evaluate_every,
        strategy=strategy,
    )
    if not is_chief(strategy):
        return  # the rest reads and writes files of the chief
    metric = f'val_{head_of(config).metric}'
    _log.info(
        'best %s %.3f; weights and log in %s, report in %s/report/report.html',
        metric,
        max(history.history[metric]),
        given.workdir,
        given.workdir,
    )
    if given.test:
        _test(given.test, given.workdir)


def _converted(given):
    """The official hparams as our keys; logs those that have no effect."""
    converted, left_out = from_official(given.hparams) if given.hparams else ({}, {})
    if left_out:
        _log.info('%d official keys have no effect here:', len(left_out))
    for key, reason in left_out.items():
        _log.info('  %s: %s', key, reason)
    sets_batch = 'batch_size' in converted or any('batch_size=' in text for text in given.set)
    if given.auto_batch and sets_batch:
        raise ValueError(
            '--auto_batch chooses batch_size, which is also set; leave one of them out'
        )
    detect = converted.get('detect', {})
    if detect.get('max_nms_inputs') == 0:  # officially unset; the official evaluation sets it
        detect['max_nms_inputs'] = DetectConfig().max_nms_inputs
    return converted


def train_and_valid(data, given, settings):
    """(records to train on, data to validate on)"""
    if given.valid:
        return records_of(data), given.valid
    seed = load_config(given.model, settings).train.seed
    train, valid, what = set_aside(data, seed)
    _log.info('no --valid: %s set aside for validation (train.seed=%d)', what, seed)
    return records_of(train), records_of(valid)


def configured(train, labels, settings, given):
    """(Config of the model, the classes, the recipe and the settings; the recipe's choices)"""
    config = load_config(given.model, [labels, *settings])
    if not given.recipe:
        return config, ''
    if given.recipe == 'finetune' and not given.weights:
        raise ValueError(
            '--recipe=finetune starts from weights: give --weights=coco, imagenet or a '
            'checkpoint, or take small or scratch'
        )
    chosen, reasons = recipe(given.recipe, config, count_examples(train))
    config = load_config(config, [chosen, *settings])
    return config, f'recipe {given.recipe}:\n{explain(chosen, reasons, config)}'


def _batch_size(train, labels, settings, strategy, given):
    """{'batch_size': that of the training in workdir, or the largest that fits}"""
    workdir = pathlib.Path(given.workdir)
    # config.yaml alone may be left from a start that failed.
    if checkpoints_in(workdir / 'checkpoint'):
        begun = load_config(workdir / 'config.yaml').train.batch_size
        _log.info('batch_size %d: as the training in %s began', begun, workdir)
        return {'batch_size': begun}
    config, _ = configured(train, labels, settings, given)
    if given.weights in released_sets():
        config = released_config(config, given.weights)
    return batch_for(config, count_examples(train), strategy.num_replicas_in_sync)


def _test(data, workdir):
    """Evaluates the best weights; writes test.yaml."""
    model = load_trained(workdir)
    # Its Config is not the one that was given: released weights bring settings of their own.
    metrics = coco.evaluate(model, dataset(data, model.detection_config, training=False))
    with replaced_file(pathlib.Path(workdir) / 'test.yaml') as working:
        working.write_text(yaml.safe_dump(metrics, sort_keys=False), encoding='utf-8')
    _log.info('%s:\n%s', data, coco.metrics_text(metrics))
