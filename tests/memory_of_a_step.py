"""Prints the peak memory and the seconds of training steps: python tests/memory_of_a_step.py MODEL SIZE BATCH key=value ...

One process measures one setting, for the peak of a process never falls. results/memory.csv has what it printed.
"""
import resource
import sys
import time

import numpy as np
import tensorflow as tf

from keras_efficientdet import compile_for_training, efficientdet, load_config
from keras_efficientdet.anchor_head import config_anchors


def main(name, size, batch, *overrides):
    config = load_config(name, [{'image_size': int(size), 'batch_size': int(batch)}, *overrides])
    model = efficientdet(config)
    compile_for_training(model, config)
    rng, count, size, batch = np.random.default_rng(0), len(config_anchors(config.model)), int(size), int(batch)
    images = rng.standard_normal((batch, size, size, 3)).astype(np.float32)
    classes = rng.integers(-1, 90, (batch, count)).astype(np.int32) * (rng.random((batch, count)) < 0.01) - 1
    targets = {'classes': np.maximum(classes, -1), 'boxes': np.zeros((batch, count, 4), np.float32)}
    data = tf.data.Dataset.from_tensors((images, targets, dict.fromkeys(targets, np.full(batch, 0.01, np.float32))))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model.fit(data, verbose=0)
    start = time.time()
    model.fit(data.repeat(2), verbose=0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = (time.time() - start) / 2
    print(f'peak {peak / 2 ** 20:.2f} GiB, {before / 2 ** 20:.2f} GiB before the first step, {seconds:.1f} s a step')


if __name__ == '__main__':
    main(*sys.argv[1:])
