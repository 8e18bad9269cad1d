"""The model that a training left in a folder."""

import os
import pathlib

import keras

from keras_efficientdet.config import load_config
from keras_efficientdet.network.efficientdet import efficientdet


def load_trained(workdir: str | os.PathLike, weights: str = 'best.weights.h5') -> keras.Model:
    """The model that `fit` left in a folder, with its Config, in float32.

    Args:
      workdir: folder of `fit`.
      weights: 'best.weights.h5', the averages of the best val_AP, or 'last.weights.h5'.
    Raises:
      FileNotFoundError: the folder has no such file, or no config.yaml.
    """
    workdir = pathlib.Path(workdir)
    for name in ('config.yaml', weights):
        if not (workdir / name).is_file():
            raise FileNotFoundError(
                f'{workdir / name} does not exist; {workdir} is not the folder of a training'
            )
    model = efficientdet(load_config(workdir / 'config.yaml', {'mixed_precision': None}))
    model.load_weights(str(workdir / weights))
    return model
