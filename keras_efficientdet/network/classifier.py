"""The public builder of classifiers."""

import os
import typing

import keras

from keras_efficientdet.config import Config, load_config
from keras_efficientdet.network.efficientdet import efficientdet
from keras_efficientdet.network.heads import demand_head


def classifier(
    config: Config | str | os.PathLike = 'efficientnet-b0',
    weights: str | os.PathLike | typing.Mapping | None = None,
    *,
    on_class_mismatch: str = 'error',
) -> keras.Model:
    """Builds EfficientNet as a Keras model that classifies images.

    Args:
      config: a Config, or what `load_config` takes, of the head 'classification': 'efficientnet-b0'
        to '-b8', 'efficientnet-l2', 'efficientnet-lite0' to '-lite4'.
      weights: as of `efficientdet`. 'imagenet' includes the classifier of 1000 classes: of
        EfficientNet-Lite0 to Lite2 (extra `pretrained`), and of B0 to B7, which Keras downloads.
      on_class_mismatch: what to do if the weights have another number of classes (ImageNet has
        1000): 'error', or 'reinit' to initialise the classifying layer only.
    Returns:
      keras.Model from float32 images [B, height, width, 3] of the configured size, normalised as
      by `images.prepare`, to {'logits': float32 [B, num_classes]}, before softmax.
    Raises:
      ConfigError: the configuration has a fault or another head.
      CheckpointError: the weights cannot be read or do not fit.
    Source: EfficientNet paper table 1. Layer names are the official variable names with . for /.
    """
    config = load_config(config)
    demand_head(config, 'classification', 'a classifier', 'efficientnet-b0')
    return efficientdet(config, weights, on_class_mismatch=on_class_mismatch)
