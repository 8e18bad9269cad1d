"""The weights that google/automl released: which there are (released.yaml), and the way of them into Keras' cache."""

import dataclasses
import os
import pathlib
import uuid

import keras
import yaml

from keras_efficientdet.config import load_config
from keras_efficientdet.errors import CheckpointError
from keras_efficientdet.files import keras_home
from keras_efficientdet.weights.files import ARCHIVES

TABLE = pathlib.Path(__file__).with_name('released.yaml')


@dataclasses.dataclass(frozen=True)
class Released:
    """One released checkpoint."""

    weights: str  # the set: 'coco', 'coco640' or 'advprop'
    model: str
    url: str
    format: str
    overrides: dict  # of the model's configuration: what the weights expect
    val_ap: float  # COCO val2017, as published
    sources: list  # where the address was seen; released.yaml says what each is


def released_sets():
    """{name of a set of weights: {model name: Released}}."""
    table = yaml.safe_load(TABLE.read_text())
    return {
        weights: {model: Released(weights, model, **entry) for model, entry in models.items()}
        for weights, models in table.items()
    }


def released(model_name, weights='coco'):
    """The Released of a model, like `released('efficientdet-d0', 'advprop')`. Raises CheckpointError where there is none."""
    sets = released_sets()
    if model_name not in sets.get(weights, {}):
        having = [name for name, models in sets.items() if model_name in models]
        raise CheckpointError(
            f'no weights {weights!r} of {model_name!r} were released; of this model there are {having}'
        )
    return sets[weights][model_name]


def released_config(config, weights):
    """The Config with what a released set expects (image size, scaling of the input), where it has its model's own values.

    What was changed by hand stays as it is. Raises CheckpointError where the set has no weights of this model.
    """
    usual = load_config(config.model.name).model
    wanted = released(config.model.name, weights).overrides
    return load_config(
        config,
        {
            key: value
            for key, value in wanted.items()
            if getattr(config.model, key) == getattr(usual, key)
        },
    )


def released_checkpoint(model_name, weights='coco'):
    """Path of released weights, fetched into Keras' cache where they are not there yet; fit for `load_official`.

    The cache is $KERAS_HOME, default ~/.keras. There, in efficientdet/<weights>/, an archive that was put there by hand is
    found too, as is the folder unpacked from it or an h5 of the same name.

    Raises:
      CheckpointError: nothing was released, or it cannot be fetched; the message says what to get and where to put it.
    """
    release = released(model_name, weights)
    archive, folder, h5 = _places(release)
    by_hand = [place for place in (archive, folder, h5) if place.exists()]
    if not by_hand:
        _fetch(release, keras_home(), archive, folder)
    return by_hand[0] if by_hand else archive


def is_at_hand(model_name, weights='coco'):
    """Whether `released_checkpoint` would find the weights in the cache, without a download."""
    return any(place.exists() for place in _places(released(model_name, weights)))


def _places(release):
    """Where released weights are looked for: (archive, folder unpacked from it, h5 file)."""
    name = release.url.rpartition('/')[2]
    stem = next(name.removesuffix(end) for end in ARCHIVES if name.endswith(end))
    cache = keras_home() / 'efficientdet' / release.weights
    return cache / name, cache / stem, cache / f'{stem}.h5'


def _fetch(release, home, archive, folder):
    working = f'{archive.name}.fetching-{uuid.uuid4().hex}'
    try:
        archive.parent.mkdir(
            parents=True, exist_ok=True
        )  # Keras goes to /tmp where its cache is not there
        fetched = keras.utils.get_file(
            working,
            release.url,
            cache_dir=str(home),
            cache_subdir=f'efficientdet/{release.weights}',
        )
        os.replace(fetched, archive)
    except Exception as error:  # Keras raises a bare Exception where a download fails
        raise CheckpointError(
            f'the weights {release.weights!r} of {release.model} are not here and cannot be fetched ({error}). '
            f'Download {release.url} where there is internet, and put it there: {archive}, or unpacked: '
            f'{folder}'
        ) from error
