"""The memory of a training step, measured here or in a process of its own."""

import math
import pathlib
import signal
import subprocess
import sys
import traceback
import typing

import tensorflow as tf
import yaml
from tensorflow.python.client import device_lib

from keras_efficientdet.config import Config, load_config
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.network.efficientdet import efficientdet
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.training.compile import compile_for_training

_IMAGES = (1, 2, 8, 32, 128)  # in the batches that are tried, times accumulation_steps
_OUT_OF_MEMORY = 77  # exit status of the child


class Measured(typing.NamedTuple):
    """What steps of growing batches took.

    peaks: {images in the batch: most bytes that were held so far}, the smallest batch first.
    memory: bytes that may be filled. full: whether a batch beyond these did not fit.
    """

    peaks: dict
    memory: int
    full: bool


def step_memory(model, batch):
    """Trains one step on `batch` images of noise with one object each.

    Args:
      model: a compiled detector.
    Returns:
      The most bytes that the device (the first GPU, or else this process) has held so far.
    """
    model.fit(_noise(model.detection_config, batch), verbose=0)
    return peak_memory()


def peak_memory():
    """The most bytes that TensorFlow has allocated on the first GPU; without one, this process.

    Not by getrusage, whose maximum a child process inherits from its parent.
    """
    if tf.config.list_physical_devices('GPU'):
        return tf.config.experimental.get_memory_info('GPU:0')['peak']
    return _kilobytes('/proc/self/status', 'VmHWM') * 1024


def free_memory():
    """Bytes that training may take, of the first GPU, or of this machine and its container."""
    if tf.config.list_physical_devices('GPU'):
        gpus = [d for d in device_lib.list_local_devices() if d.device_type == 'GPU']
        return gpus[0].memory_limit
    of_machine = _kilobytes('/proc/meminfo', 'MemAvailable') * 1024
    return min(of_machine, free_in_group(pathlib.Path('/sys/fs/cgroup')))


def free_in_group(group):
    """Bytes left in a control group of Linux, as containers have; infinity if it has no limit.

    Its used memory includes cached files, which make room when it is needed.
    """
    limit = group / 'memory.max'
    if not limit.exists() or limit.read_text(encoding='utf-8').strip() == 'max':
        return math.inf
    rows = dict(
        line.split() for line in (group / 'memory.stat').read_text(encoding='utf-8').splitlines()
    )
    files = int(rows['active_file']) + int(rows['inactive_file'])
    return (
        int(limit.read_text(encoding='utf-8'))
        - int((group / 'memory.current').read_text(encoding='utf-8'))
        + files
    )


def measured(config: Config, memory: int | None = None) -> Measured:
    """Takes steps of growing batches, until one needs a fifth of the memory more than the first.

    The steps run in a child process, because that is what the system ends when memory runs out.

    Args:
      config: all of it but `train.batch_size` matters.
      memory: bytes to fill; default: what is free.
    Raises:
      ConfigError: the child failed for another reason than memory, or with one image.
    """
    command = [sys.executable, '-m', __name__, str(memory or 0)]
    child = subprocess.run(
        command, input=yaml.safe_dump(config.to_dict()), capture_output=True, text=True, check=False
    )
    lines = [line.split() for line in child.stdout.splitlines()]
    rows = [tuple(map(int, words[1:])) for words in lines if words[:1] == ['measured']]
    # Linux kills the process where the machine's memory ends; TensorFlow raises for that of a GPU.
    full = child.returncode in (-signal.SIGKILL, _OUT_OF_MEMORY)
    if child.returncode and not (full and rows):
        raise ConfigError(
            f'{config.model.name}: a training step could not be measured: {_reason(child, full)}'
        )
    return Measured({images: peak for images, peak, _ in rows}, rows[-1][2], full)


def _reason(child, full):
    if full:
        return (
            'one image takes more memory than there is; a smaller image_size, recompute=true and '
            'mixed_precision=mixed_bfloat16 take less'
        )
    errors = [line for line in child.stderr.splitlines() if 'Error' in line]
    return errors[-1] if errors else f'its process ended with {child.returncode}'


def _noise(config, batch):
    """One batch of noise.

    Its static shape leaves the number of images open, so that all sizes share one graph and differ
    by their features alone.
    """
    height, width = config.model.image_size
    head = head_of(config)
    target, positives = head.targets(config)(
        tf.constant([[8.0, 8.0, height / 2, width / 2]]),
        tf.constant([0]),
        **{name: tf.zeros([height, width, 1], tf.uint8) for name in head.annotations},
    )
    positives = tf.nest.map_structure(lambda count: batch * count, positives)
    image = tf.random.stateless_normal([height, width, 3], seed=(1, 2))
    example = image, target, head.weights(positives, target)
    return tf.data.Dataset.from_tensors(example).repeat(batch).batch(batch)


def _kilobytes(file, key):
    if not pathlib.Path(file).exists():
        raise ConfigError(
            f'{file} does not exist, so the memory of this system is unknown; set batch_size'
        )
    lines = pathlib.Path(file).read_text(encoding='utf-8').splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def _child(memory):
    """Reads a configuration from stdin, and prints a line for each batch that fits."""
    memory = memory or free_memory()
    config = load_config(overrides=yaml.safe_load(sys.stdin))
    parts = config.train.accumulation_steps
    model = efficientdet(config)
    # Only the learning rate depends on the 1000 steps of an epoch.
    compile_for_training(model, load_config(config, {'batch_size': parts}), steps_per_epoch=1000)
    first = None
    for images in _IMAGES:
        peak = step_memory(model, images * parts)
        first = first or peak
        print('measured', images * parts, peak, memory, flush=True)
        if peak - first > memory / 5:  # the next batch, four times as large, might not fit
            return


if __name__ == '__main__':
    try:
        _child(int(sys.argv[1]))
    except tf.errors.ResourceExhaustedError:
        traceback.print_exc()
        sys.exit(_OUT_OF_MEMORY)
