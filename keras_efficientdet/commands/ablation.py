"""Trains variants of a model for equally long, and compares parameters, GFLOPs, latency and AP.

Example:
  efficientdet ablation --train=cells/train --valid=cells/val --workdir=runs/pyramids --steps=300 \\
      --weights=imagenet --recipe=small batch_size=8

The variants are the feature networks and fusions of the EfficientDet paper (tables 5 and 6), or
those given: --variant="one anchor_scale=2.0" --variant="other anchor_scale=4.0". The first word is
the name of a variant, the others are its settings. Each variant has a folder in --workdir as
`efficientdet train` makes it, so a comparison that was interrupted goes on where it was. The table
is written to ablation.csv in --workdir as well.
"""

import csv
import dataclasses
import logging
import math
import pathlib
import statistics
import time

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from keras_efficientdet.commands import command
from keras_efficientdet.commands.train import configured, train_and_valid
from keras_efficientdet.config import load_config
from keras_efficientdet.data.cache import label_overrides
from keras_efficientdet.data.data_set import source_of
from keras_efficientdet.data.records import count_examples
from keras_efficientdet.files import replaced_file
from keras_efficientdet.network.detector import detector
from keras_efficientdet.network.flops import flops
from keras_efficientdet.network.heads import has_masks
from keras_efficientdet.network.trained import load_trained
from keras_efficientdet.training import fit
from keras_efficientdet.training.recipes import RECIPES

_log = logging.getLogger(__name__)

# The paper's comparisons: feature networks without weights, then the fusions of BiFPN.
VARIANTS = {
    'fpn': ('fpn_name=fpn', 'fpn_weight_method=sum'),
    'panet': ('fpn_name=panet', 'fpn_weight_method=sum'),
    'qufpn': ('fpn_name=qufpn', 'fpn_weight_method=sum'),
    'bifpn-sum': ('fpn_name=bifpn', 'fpn_weight_method=sum'),
    'bifpn-softmax': ('fpn_name=bifpn', 'fpn_weight_method=attn'),
    'bifpn-fast': ('fpn_name=bifpn', 'fpn_weight_method=fastattn'),
}
ROUNDS = 20  # of timing, one call of every variant each


@dataclasses.dataclass(frozen=True)
class Row:
    """The figures of a variant."""

    variant: str
    parameters: int  # trainable
    gflops: float  # multiply-adds of one image
    latency_ms: float  # of an image of the network's size, median
    latency_min_ms: float
    AP: float
    AP50: float
    steps: int


def define(flags):
    flags.DEFINE_string('model', 'efficientdet-lite0', 'Name of a configuration, or a yaml file.')
    flags.DEFINE_string('train', None, 'Data to train on, of any known format.', required=True)
    flags.DEFINE_string(
        'valid', None, 'Data to evaluate on; default: a fifth of --train, drawn by train.seed.'
    )
    flags.DEFINE_string('workdir', None, 'Folder for the trainings and the table.', required=True)
    flags.DEFINE_string('weights', None, 'As of `efficientdet train`.')
    flags.DEFINE_enum('recipe', None, sorted(RECIPES), 'As of `efficientdet train`.')
    flags.DEFINE_integer('steps', 300, 'Training steps of each variant, rounded to whole epochs.')
    flags.DEFINE_multi_string(
        'variant', [], '"name key=value ..."; may be repeated. Default: those of the paper.'
    )
    command.define_set(flags, 'key=value for all variants; may be repeated.')
    command.define_json(flags)


def main(given):
    variants = dict(map(_variant, given.variant)) or VARIANTS
    masks = has_masks(load_config(given.model, given.set))
    data = source_of(given.train, masks) or given.train
    train, valid = train_and_valid(data, given, given.set)
    labels = label_overrides(data)
    trained = {}
    for name, settings in variants.items():
        config, _ = configured(train, labels, [*given.set, *settings], given)
        trained[name] = _trained(name, config, train, valid, given)
    latencies = _latencies({name: model for name, (model, _, _) in trained.items()})
    rows = [_row(name, *trained[name], latencies[name]) for name in trained]
    _write(pathlib.Path(given.workdir) / 'ablation.csv', rows)
    _log.info('%s', table(rows))
    return command.Outcome([dataclasses.asdict(row) for row in rows])


def _variant(text):
    """'name key=value ...' -> (name, its key=value words)"""
    name, *words = text.split() or ['']
    if not name or '=' in name or not all('=' in word for word in words):
        raise ValueError(f'--variant={text!r}: expected a name, then key=value words')
    return name, words


def _trained(name, config, train, valid, given):
    """(model with the best averages, its metrics, steps) of one variant."""
    per_epoch = max(1, count_examples(train) // config.train.batch_size)
    epochs = max(1, round(given.steps / per_epoch))
    config = load_config(config, {'num_epochs': epochs})
    workdir = pathlib.Path(given.workdir) / name
    _log.info('%s: %d epochs of %d steps', name, epochs, per_epoch)
    history = fit(
        config, train, valid, workdir, weights=given.weights, evaluate_every=epochs
    ).history
    metrics = {key: max(history[f'val_{key}']) for key in ('AP', 'AP50')}
    return load_trained(workdir), metrics, epochs * per_epoch


def _latencies(models):
    """{variant: milliseconds of each round}; rounds go through all variants in turn."""
    calls = {name: _call(model) for name, model in models.items()}
    times = {name: [] for name in calls}
    for _ in tqdm(range(ROUNDS), desc='timing', unit=' rounds'):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            times[name].append(1e3 * (time.perf_counter() - begin))
    return times


def _call(model):
    """A function that detects in one image of the network's size, traced and warm."""
    height, width = model.detection_config.model.image_size
    whole = detector(model)
    graph = tf.function(lambda images: whole(images, training=False))
    images = tf.constant(np.full((1, height, width, 3), 128, np.uint8))

    def call():
        tf.nest.map_structure(lambda tensor: tensor.numpy(), graph(images))

    call()
    return call


def _row(name, model, metrics, steps, times):
    return Row(
        variant=name,
        parameters=sum(math.prod(v.shape) for v in model.trainable_weights),
        gflops=flops(model) / 1e9,
        latency_ms=statistics.median(times),
        latency_min_ms=min(times),
        AP=metrics['AP'],
        AP50=metrics['AP50'],
        steps=steps,
    )


def table(rows: list[Row]) -> str:
    """The rows as a table in Markdown."""
    lines = [
        '| variant | parameters | GFLOPs | latency, median (minimum) | AP | AP50 | steps |',
        '|---|---|---|---|---|---|---|',
    ]
    for row in rows:
        latency = f'{row.latency_ms:.1f} ms ({row.latency_min_ms:.1f})'
        lines.append(
            f'| {row.variant} | {row.parameters / 1e6:.2f} M | {row.gflops:.2f} | {latency} | '
            f'{row.AP:.3f} | {row.AP50:.3f} | {row.steps} |'
        )
    return '\n'.join(lines)


def _write(path, rows):
    with replaced_file(path) as working, open(working, 'w', newline='', encoding='utf-8') as file:
        columns = [field.name for field in dataclasses.fields(Row)]
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in rows)
