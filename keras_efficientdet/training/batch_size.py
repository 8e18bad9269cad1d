"""The largest batch that fits into the memory and suits the data."""

import logging

from keras_efficientdet.config import Config
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.training.step_memory import measured

_log = logging.getLogger(__name__)
_SHARE = 0.8  # of the memory; the rest is for the data, and for what single steps do not show
_FURTHER = 4  # times the largest measured batch: beyond that the line is not trusted
_STEPS = 10  # in an epoch, at least


def largest_batch(config: Config, memory: int | None = None) -> tuple[int, str]:
    """The largest batch that fits into the memory of one device while this configuration trains.

    A line through the two largest measured batches is extended to four fifths of the memory, but
    not beyond four times the larger of them.

    Args:
      config: all of it but `train.batch_size` matters.
      memory: bytes to fill; default: what TensorFlow may use of the first GPU, or the free memory
        of this machine.
    Returns:
      (images, text about what was measured). Images are a multiple of `accumulation_steps`, and of
      eight times that where they are more.
    Raises:
      ConfigError: not even one image fits, or a step failed for another reason.
    """
    found = measured(config, memory)
    images = _rounded(_fitting(found), config.train.accumulation_steps)
    most = max(found.peaks)
    used, memory = found.peaks[most] / 2**30, found.memory / 2**30
    text = f'{most} images take {used:.1f} GiB of {memory:.1f} GiB'
    return images, text + (', more did not fit' if found.full else '')


def batch_for(config: Config, examples: int, replicas: int = 1) -> dict:
    """The largest batch that fits and leaves at least ten steps an epoch; logs what was measured.

    Args:
      config: all of it but `train.batch_size` matters.
      examples: number of training images.
      replicas: of the strategy to train under.
    Returns:
      {'batch_size': images}
    Raises:
      ConfigError: as `largest_batch`; or several replicas, whose memory that of one does not tell.
    """
    if replicas > 1:
        raise ConfigError(
            f'the largest batch is measured for one device, found {replicas} replicas; give '
            'batch_size, or choose the strategy one'
        )
    images, text = largest_batch(config)
    suited = _rounded(min(images, examples // _STEPS), config.train.accumulation_steps)
    if suited < images:
        text += f'; {images} fit, but {examples} images should make at least {_STEPS} steps'
    _log.info('batch_size %d: %s', suited, text)
    return {'batch_size': suited}


def _fitting(found):
    """Images that fit, by a line through the last two peaks."""
    sizes = sorted(found.peaks)
    if found.full or len(sizes) < 2:
        return sizes[-1]
    few, many = sizes[-2:]
    bytes_per_image = (found.peaks[many] - found.peaks[few]) / (many - few)
    if bytes_per_image <= 0:  # too small to be seen beside the program itself
        return _FURTHER * many
    room = _SHARE * found.memory - found.peaks[many]
    return min(_FURTHER * many, many + int(room // bytes_per_image))


def _rounded(images, unit):
    """Down to a multiple of the unit, or of eight units, which suits the kernels of devices."""
    eight = 8 * unit
    return max(unit, images - images % (eight if images >= eight else unit))
