"""The largest batch that fits: training steps of growing batches, measured in a process of their own."""
import pathlib
import subprocess
import sys

import tensorflow as tf
import yaml
from tensorflow.python.client import device_lib

from keras_efficientdet.config import ConfigError, load_config
from keras_efficientdet.models import efficientdet, head_of
from keras_efficientdet.training.loop import compile_for_training

SHARE = 0.8                    # of the memory that is there; the rest is for the data and for what two steps do not show
_BATCHES = (1, 2, 8, 32)       # measured until one takes a fifth of the memory: a fourfold one then fits
_LESS = 'A smaller image_size, recompute=true and mixed_precision=mixed_bfloat16 take less memory'


def largest_batch(config, memory=None):
    """How many images of a batch fit into the memory of one device while this configuration trains.

    A child process takes one training step of each of a few batch sizes; a line through the last two is drawn out to `SHARE`
    of the memory. The child dies alone where even its batches are too large.

    Args:
      config: Config; all of it but `train.batch_size` counts (recompute, mixed_precision, accumulation_steps ...).
      memory: bytes to fill; default: what the first GPU gives to TensorFlow, or the machine's free memory.
    Returns:
      (images, text that says what was measured). From 8 on images are a multiple of 8, and always one of accumulation_steps.
    Raises:
      ConfigError: not even one image could be trained on.
    """
    unit = config.train.accumulation_steps
    found = _measured(config, memory)
    return _drawn_out(found, unit) if len(found) > 1 else (unit, f'{_BATCHES[1] * unit} images do not fit')


def fill_memory(config, strategy):
    """{'batch_size': the largest batch over all devices of a strategy}. Prints what was measured.

    Raises:
      ConfigError: as `largest_batch`; or the strategy has devices that cannot be measured from here.
    """
    if isinstance(strategy, (tf.distribute.TPUStrategy, tf.distribute.MultiWorkerMirroredStrategy)):
        raise ConfigError('the largest batch is measured on a GPU or CPU of this machine, not on a TPU or over several workers; '
                          'give batch_size')
    images, measured = largest_batch(config)
    print(f'batch_size {images} on each of {strategy.num_replicas_in_sync} device(s): {measured}')
    return {'batch_size': images * strategy.num_replicas_in_sync}


def _drawn_out(found, unit):
    (few, low, _), (many, high, limit) = found[-2:]
    image, room = max((high - low) / (many - few), 1.), SHARE * limit
    images = max(unit, many + int((room - high) // image))
    images -= images % (8 * unit if images >= 8 * unit else unit)
    return images, (f'{many} images take {_gib(high)}, one more takes {image / 2 ** 20:.0f} MiB; {_gib(room)} of {_gib(limit)} '
                    'may be used')


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


def _noise(config, batch):
    """One batch, whose size is not in its type: all sizes then share one graph, and only their features differ."""
    height, width = config.model.image_size
    target, positives = head_of(config).targets(config)(tf.constant([[8., 8., height / 2, width / 2]]), tf.constant([0]))
    image = tf.random.stateless_normal([height, width, 3], seed=(1, 2))
    example = image, target, dict.fromkeys(target, 1. / (1. + batch * positives))
    return tf.data.Dataset.from_tensors(example).repeat(batch).batch(batch)


def _measured(config, memory):
    """[(images, peak, memory)] in bytes, as far as the child came."""
    command = [sys.executable, '-m', __name__, str(memory or 0)]
    child = subprocess.run(command, input=yaml.safe_dump(config.to_dict()), capture_output=True, text=True, check=False)
    found = [tuple(map(int, line.split()[1:])) for line in child.stdout.splitlines() if line.startswith('measured ')]
    if not found:
        why = child.stderr.strip().splitlines()[-1:] or [f'the process that trained on it ended with {child.returncode}']
        raise ConfigError(f'{config.model.name}: not one step could be measured ({why[0]}). {_LESS}')
    return found


def _free_memory():
    """Bytes that training may take."""
    if tf.config.list_physical_devices('GPU'):
        return next(d.memory_limit for d in device_lib.list_local_devices() if d.device_type == 'GPU')
    return _kilobytes('/proc/meminfo', 'MemAvailable') * 1024


def _kilobytes(file, key):
    return next(int(line.split()[1]) for line in pathlib.Path(file).read_text().splitlines() if line.startswith(key))


def _gib(count):
    return f'{count / 2 ** 30:.1f} GiB'


def _child(memory):
    config = load_config(overrides=yaml.safe_load(sys.stdin))
    model, memory = efficientdet(config), memory or _free_memory()
    compile_for_training(model, load_config(config, {'batch_size': config.train.accumulation_steps}))
    for images in _BATCHES:
        batch = images * config.train.accumulation_steps
        peak = step_memory(model, batch)
        print('measured', batch, peak, memory, flush=True)
        if images > 1 and peak > memory / 5:
            return


if __name__ == '__main__':
    _child(int(sys.argv[1]))
