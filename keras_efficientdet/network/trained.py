"""The model that a training left in a folder."""

import pathlib

from keras_efficientdet.config import load_config
from keras_efficientdet.network.efficientdet import efficientdet


def load_trained(workdir, weights='best.weights.h5'):
    """The model that `fit` left in a folder, with its Config, in float32. Raises FileNotFoundError where there is none."""
    workdir = pathlib.Path(workdir)
    for name in ('config.yaml', weights):
        if not (workdir / name).is_file():
            raise FileNotFoundError(
                f'{workdir / name}: not there; {workdir} is no folder of a finished training'
            )
    model = efficientdet(load_config(workdir / 'config.yaml', {'mixed_precision': None}))
    model.load_weights(str(workdir / weights))
    return model
