"""Detection heads. The configuration key `head` names the one that a network gets.

A head is a record of functions, `head.Head`: how to build its outputs from the pyramid, how to
encode ground truth as targets, its losses, how many positives a batch has, and how to turn outputs
into detections; optionally its anchors, and what only heads with anchors have. Data, training,
evaluation, doctor, exports and engines use that record and nothing else.

To add a head, write a file beside anchor.py that ends in `HEAD = Head(...)`, and add a row to HEADS
below. tests/second_head.py is a small example; tests/test_second_head.py takes it through the whole
library.
"""

from keras_efficientdet.config import Config
from keras_efficientdet.config.choices import HEADS
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.network.heads import anchor, center, classification, points, segmentation
from keras_efficientdet.network.heads.head import Head
from keras_efficientdet.network.heads.joined import joined

HEADS['anchor'] = anchor.HEAD
HEADS['center'] = center.HEAD
HEADS['classification'] = classification.HEAD
HEADS['points'] = points.HEAD
HEADS['segmentation'] = segmentation.HEAD
HEADS['anchor+segmentation'] = joined(anchor.HEAD, segmentation.HEAD, (segmentation.OUTPUT,))


def head_of(config: Config) -> Head:
    """The head that `config.model.head` names. Raises ConfigError for an unknown name."""
    name = config.model.head
    if name not in HEADS:
        raise ConfigError(f'model.head must be one of {", ".join(HEADS)}, found {name!r}')
    return HEADS[name]


def has_masks(config: Config) -> bool:
    """Whether the head of a configuration learns from masks."""
    return 'mask' in head_of(config).annotations


def demand_head(config: Config, head: str, who: str, example: str) -> None:
    """Raises ConfigError unless `config` has this head; `example` is a model that has it."""
    if config.model.head != head:
        raise ConfigError(
            f'{config.model.name} has the head {config.model.head!r}; {who} needs {head!r}, as '
            f'{example} has, and efficientdet(config) builds this one'
        )
