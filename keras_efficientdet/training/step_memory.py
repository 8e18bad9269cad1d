"""The memory of a training step, measured here or in a process of its own."""

import math
import pathlib
import signal
import subprocess
import sys
import typing

import tensorflow as tf
import yaml
from tensorflow.python.client import device_lib

from keras_efficientdet.config import load_config
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.network.efficientdet import efficientdet
from keras_efficientdet.network.heads import head_of
from keras_efficientdet.training.compile import compile_for_training

_IMAGES = (1, 2, 8, 32, 128)  # of the batches tried, times accumulation_steps


class Measured(typing.NamedTuple):
    """Bytes. peaks: {images: peak after a step of so many}, of one image first; full: whether the memory ended after them."""

    peaks: dict
    memory: int
    full: bool


def step_memory(model, batch):
    """Trains one step on `batch` images of noise with one object each.

    Args:
      model: a compiled detector.
    Returns:
      Most memory that the device (the first GPU, else this process) ever held, in bytes.
    """
    model.fit(_noise(model.detection_config, batch), verbose=0)
    return peak_memory()


def peak_memory():
    """Bytes: what TensorFlow allocated at most on the first GPU; without one, the peak of this process.

    Not getrusage, whose maximum passes from a parent to the program that its child becomes.
    """
    if tf.config.list_physical_devices('GPU'):
        return tf.config.experimental.get_memory_info('GPU:0')['peak']
    return _kilobytes('/proc/self/status', 'VmHWM') * 1024


def free_memory():
    """Bytes that training may take: of the first GPU, or of this machine and of the container around it."""
    if tf.config.list_physical_devices('GPU'):
        return next(
            d.memory_limit for d in device_lib.list_local_devices() if d.device_type == 'GPU'
        )
    return min(
        _kilobytes('/proc/meminfo', 'MemAvailable') * 1024,
        free_in_group(pathlib.Path('/sys/fs/cgroup')),
    )


def free_in_group(group):
    """Bytes left in a control group of Linux, which a container has; infinity where it has no limit.

    Its count of used memory holds files that were read, too, which make room when it is needed.
    """
    limit = group / 'memory.max'
    if not limit.exists() or limit.read_text().strip() == 'max':
        return math.inf
    rows = dict(line.split() for line in (group / 'memory.stat').read_text().splitlines())
    files = int(rows['active_file']) + int(rows['inactive_file'])
    return int(limit.read_text()) - int((group / 'memory.current').read_text()) + files


def measured(config, memory=None):
    """Takes steps of growing batches in a child process, until one takes a fifth of the memory beyond what the first took.

    Args:
      config: Config; all of it but `train.batch_size` counts.
      memory: bytes to fill; default: what is free.
    Returns:
      Measured. The child alone dies where the memory ends.
    Raises:
      ConfigError: the child failed for another reason than memory, or with one image.
    """
    command = [sys.executable, '-m', __name__, str(memory or 0)]
    child = subprocess.run(
        command, input=yaml.safe_dump(config.to_dict()), capture_output=True, text=True, check=False
    )
    rows = [
        tuple(map(int, line.split()[1:]))
        for line in child.stdout.splitlines()
        if line.startswith('measured ')
    ]
    full = child.returncode == -signal.SIGKILL or 'ResourceExhausted' in child.stderr
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
    """One batch, whose size is not in its type: all sizes then share one graph, and only their features differ."""
    height, width = config.model.image_size
    target, positives = head_of(config).targets(config)(
        tf.constant([[8.0, 8.0, height / 2, width / 2]]), tf.constant([0])
    )
    image = tf.random.stateless_normal([height, width, 3], seed=(1, 2))
    example = image, target, dict.fromkeys(target, 1.0 / (1.0 + batch * positives))
    return tf.data.Dataset.from_tensors(example).repeat(batch).batch(batch)


def _kilobytes(file, key):
    if not pathlib.Path(file).exists():
        raise ConfigError(
            f'{file}: not there, so this system does not tell its memory; give batch_size'
        )
    return next(
        int(line.split()[1])
        for line in pathlib.Path(file).read_text().splitlines()
        if line.startswith(key)
    )


def _child(memory):
    memory, config = memory or free_memory(), load_config(overrides=yaml.safe_load(sys.stdin))
    model, first = efficientdet(config), None
    compile_for_training(
        model, load_config(config, {'batch_size': config.train.accumulation_steps})
    )
    for batch in (images * config.train.accumulation_steps for images in _IMAGES):
        peak = step_memory(model, batch)
        first = first or peak
        print('measured', batch, peak, memory, flush=True)
        if peak - first > memory / 5:  # four times as many might not fit
            return


if __name__ == '__main__':
    _child(int(sys.argv[1]))
