"""Detection heads: each is a file that ends in a `Head` record, and a row here."""

from keras_efficientdet.config.choices import HEADS
from keras_efficientdet.network.heads import anchor

HEADS['anchor'] = anchor.HEAD


def head_of(config):
    """The Head record that the key `head` of a Config names."""
    return HEADS[config.model.head]
