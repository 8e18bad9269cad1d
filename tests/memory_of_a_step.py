"""Prints the peak memory of training steps: python tests/memory_of_a_step.py MODEL SIZE BATCH
key=value ...

One process measures one setting, for the peak of a process never falls. results/memory.csv has what
it printed.
"""

import sys

from keras_efficientdet import compile_for_training, efficientdet, load_config
from keras_efficientdet.training.step_memory import peak_memory, step_memory


def main(name, size, batch, *overrides):
    config = load_config(name, [{'image_size': int(size), 'batch_size': int(batch)}, *overrides])
    model = efficientdet(config)
    compile_for_training(model, config, steps_per_epoch=1000)
    before = peak_memory()
    peak = step_memory(model, int(batch))
    print(f'peak {peak / 2**30:.2f} GiB, {before / 2**30:.2f} GiB before the first step')


if __name__ == '__main__':
    main(*sys.argv[1:])
