"""The largest batch that fits into the memory and suits the data."""

from keras_efficientdet.errors import ConfigError
from keras_efficientdet.training.step_memory import measured

_SHARE = 0.8  # of the memory; the rest is for the data and for what single steps do not show
_FURTHER = 4  # times the largest batch that was measured: a line is not to be trusted beyond
_STEPS = 10  # of an epoch, at least


def largest_batch(config, memory=None):
    """How many images of a batch fit into the memory of one device while this configuration trains.

    A line through the two largest batches that were measured is drawn out to four fifths of the memory, and to four times the
    largest at most.

    Args:
      config: Config; all of it but `train.batch_size` counts.
      memory: bytes to fill; default: what the first GPU gives to TensorFlow, or the free memory of this machine.
    Returns:
      (images, text that says what was measured). Images are a multiple of `accumulation_steps`, and of eight times that from
      there on.
    Raises:
      ConfigError: not even one image could be trained on.
    """
    found, unit = measured(config, memory), config.train.accumulation_steps
    images = _rounded(_fitting(found), unit)
    most = max(found.peaks)
    text = (
        f'{most} images take {found.peaks[most] / 2**30:.1f} GiB of {found.memory / 2**30:.1f} GiB'
    )
    return images, text + (', more did not fit' if found.full else '')


def batch_for(config, examples, replicas=1):
    """{'batch_size': the largest that fits, with ten steps an epoch at least}. Prints what was measured.

    Args:
      config: Config. examples: number of training pictures. replicas: of the strategy to train under.
    Raises:
      ConfigError: as `largest_batch`; or several replicas, whose memory cannot be told from that of one.
    """
    if replicas > 1:
        raise ConfigError(
            f'the largest batch is measured for one device, found {replicas} replicas; give batch_size, or choose '
            'the strategy one'
        )
    images, text = largest_batch(config)
    suited = _rounded(min(images, examples // _STEPS), config.train.accumulation_steps)
    print(
        f'batch_size {suited}: {text}'
        + (
            f'; {images} fit, but {examples} pictures shall make {_STEPS} steps or more'
            if suited < images
            else ''
        )
    )
    return {'batch_size': suited}


def _fitting(found):
    """Images that fit, by a line through the last two peaks."""
    sizes = sorted(found.peaks)
    if found.full or len(sizes) < 2:
        return sizes[-1]
    few, many = sizes[-2:]
    image = (found.peaks[many] - found.peaks[few]) / (many - few)
    if image <= 0:
        return _FURTHER * many
    return min(_FURTHER * many, many + int((_SHARE * found.memory - found.peaks[many]) // image))


def _rounded(images, unit):
    eight = 8 * unit
    return max(unit, images - images % (eight if images >= eight else unit))
