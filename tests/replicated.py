"""Batch norm, and ten steps of a tiny detector, under one device or under a strategy of several.

replicated.py STRATEGY OUTPUT runs them in a process of its own: mirrored (two logical CPUs) or
multi_worker (TF_CONFIG).
"""

import os
import sys

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
import keras
import numpy as np
import tensorflow as tf
import tiny

from keras_efficientdet import ConfigError
from keras_efficientdet.keras_compat import KERAS_3
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.network.layers import BatchNorm
from keras_efficientdet.network.replicas import sum_over_replicas
from keras_efficientdet.training import strategies

STEPS, BATCH = 10, 8


class Losses(keras.callbacks.Callback):
    """The losses of each step, where an epoch is one step."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append([float(logs[k]) for k in ('loss', 'classes_loss', 'boxes_loss')])


def train(strategy, noise=0.0, trains=True, **options):
    """{'losses': [steps, 3], name: array of a weight, a batch-norm statistic or an average} after
    ten steps of SGD.

    Args:
      noise: relative, of the images; what becomes of it says how much of a difference is rounding.
      options: of TrainConfig.
    """
    first = tiny.network(
        tiny.load_config()
    ).get_weights()  # Keras 2 draws others under each strategy
    with strategy.scope():
        model = tiny.network(tiny.load_config())
    model.set_weights(first)
    for i in range(3):
        model.get_layer(f'drop{i}').survival_prob = 1.0  # each replica would drop other branches
    losses = Losses()
    model = tiny.compiled(model, trains, num_epochs=STEPS, learning_rate=0.02, **options)
    model.fit(
        _parts(strategy, noise), epochs=STEPS, steps_per_epoch=1, verbose=0, callbacks=[losses]
    )
    return {'losses': np.array(losses.rows), **tiny.values(model)}


def _parts(strategy, noise):
    """The batches of `tiny`, those of one device or the parts of each replica, whose weights say
    nothing."""
    count = strategy.num_replicas_in_sync
    rng = np.random.default_rng(1)
    images, *rest = (
        t for t in tf.data.Dataset.get_single_element(tiny.batches(STEPS, BATCH).batch(STEPS))
    )
    images *= 1.0 + noise * rng.standard_normal(images.shape).astype(np.float32)
    batches = tf.data.Dataset.from_tensor_slices((images, *rest))
    if count == 1:
        return batches

    def of_worker(context):
        parts = batches.unbatch().batch(BATCH // count, drop_remainder=True)
        ones = parts.map(lambda i, t, w: (i, t, tf.nest.map_structure(tf.ones_like, w)))
        return ones.shard(context.num_input_pipelines, context.input_pipeline_id)

    return strategy.distribute_datasets_from_function(of_worker)


def normalized(strategy, parts):
    """One training step of BatchNorm on eight images that hardly vary, `parts` of them on each
    replica: {what: array}."""
    rng = np.random.default_rng(0)
    features = (3.0 + 0.05 * rng.standard_normal((8, 2, 2, 5))).astype(np.float32)
    slopes = rng.standard_normal(features.shape).astype(np.float32)
    ends = np.cumsum([0, *parts])
    with strategy.scope():
        layer = BatchNorm(epsilon=1e-3, momentum=0.5)
        layer.build(features.shape)
        layer.gamma.assign(np.linspace(0.5, 2.0, 5))

    @tf.function
    def step():
        here = tf.distribute.get_replica_context()
        begin, end = (tf.gather(ends, here.replica_id_in_sync_group + i) for i in (0, 1))
        x = tf.constant(features)[begin:end]
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(y * tf.constant(slopes)[begin:end])
        of_x, *of_weights = tape.gradient(
            loss, [x, *(v.value if KERAS_3 else v for v in layer.trainable_variables)]
        )
        return y, of_x, *here.all_reduce('sum', of_weights)

    y, of_x, of_gamma, of_beta = (
        strategy.experimental_local_results(r) for r in strategy.run(step)
    )
    return {
        'outputs': np.concatenate(y),
        'inputs': np.concatenate(of_x),
        'gamma': of_gamma[0],
        'beta': of_beta[0],
        'mean': tf.convert_to_tensor(layer.moving_mean),
        'variance': tf.convert_to_tensor(layer.moving_variance),
    }


def weights_of_two_heads(strategy):
    """{output: [replicas]} sample weights of a batch.

    The replicas have 10 and 30 known pixels, 0 and 2 objects.
    """
    settings = {'head': 'anchor+segmentation', 'image_size': 128}
    head = head_of(tiny.load_config('efficientdet-d0', settings))

    @tf.function
    def step():
        first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
        targets = {
            'classes': tf.where(first, [[-1, -1, -1]], [[2, -1, 0]]),
            'boxes': tf.zeros([1, 3, 4]),
            'segmentation': tf.where(tf.range(40)[None] < tf.where(first, 10, 30), 1, 255),
        }
        return head.weights(sum_over_replicas(head.positives(targets)), targets)

    return {
        name: np.array([float(v) for v in strategy.experimental_local_results(value)])
        for name, value in strategy.run(step).items()
    }


def refusals(strategy):
    """What is said to a batch that cannot be shared out, and to several steps in one execution."""

    def executions():
        with strategy.scope():
            model = tiny.network(tiny.load_config())
        tiny.compiled(model, steps_per_execution=2)

    for attempt in (
        lambda: strategies.distributed(
            'nowhere', tiny.load_config('efficientdet-d0', 'batch_size=5'), strategy
        ),
        executions,
    ):
        try:
            attempt()
        except ConfigError as error:
            yield str(error)


def main(name, output):
    if name == 'mirrored':
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 2
        )
    strategy = strategies.strategy_for(name)
    np.savez(f'{output}.npz', **train(strategy))
    if name == 'mirrored':
        np.savez(f'{output}-norm.npz', **normalized(strategy, (5, 3)))
        np.savez(f'{output}-parts.npz', **train(strategy, trains=False, accumulation_steps=2))
        np.savez(f'{output}-heads.npz', **weights_of_two_heads(strategy))
        print(*refusals(strategy), sep='\n')


if __name__ == '__main__':
    main(*sys.argv[1:])
