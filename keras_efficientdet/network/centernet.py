"""The public builder of CenterNets."""

import os
import typing

import keras

from keras_efficientdet.config import Config, load_config
from keras_efficientdet.network.efficientdet import efficientdet
from keras_efficientdet.network.heads import demand_head


def centernet(
    config: Config | str | os.PathLike = 'centernet-lite0',
    weights: str | os.PathLike | typing.Mapping | None = None,
    *,
    on_class_mismatch: str = 'error',
) -> keras.Model:
    """Builds a CenterNet (Objects as Points) on an EfficientNet backbone as a Keras model.

    Args:
      config: a Config, or what `load_config` takes, of the head 'center'.
      weights, on_class_mismatch: as of `efficientdet`; 'imagenet' is the backbone only.
    Returns:
      keras.Model from float32 images [B, height, width, 3] of the configured size, normalised as
      by `images.prepare`, to maps of stride 4, float32: 'heat' [B, h, w, num_classes] logits,
      'size' [B, h, w, 2] and 'offset' [B, h, w, 2] of y and x, in cells.
    Raises:
      ConfigError: the configuration has a fault or another head.
      CheckpointError: the weights cannot be read or do not fit.
    Source: arXiv:1904.07850.
    """
    config = load_config(config)
    demand_head(config, 'center', 'a CenterNet', 'centernet-lite0')
    return efficientdet(config, weights, on_class_mismatch=on_class_mismatch)
