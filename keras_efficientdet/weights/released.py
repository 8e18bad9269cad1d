"""The weights that google/automl released: their table, and downloads into Keras' cache."""

import dataclasses
import os
import pathlib
import uuid

import keras
import yaml

from keras_efficientdet.config import Config, load_config
from keras_efficientdet.errors import CheckpointError
from keras_efficientdet.files import keras_home
from keras_efficientdet.weights.files import ARCHIVES

TABLE = pathlib.Path(__file__).with_name('released.yaml')


@dataclasses.dataclass(frozen=True)
class Released:
    """One released checkpoint."""

    weights: str  # name of the set: 'coco', 'coco640' or 'advprop'
    model: str
    url: str
    format: str
    overrides: dict  # of the model's configuration: what the weights were trained with
    val_ap: float  # COCO val2017, as published
    sources: list  # where the address was seen; released.yaml describes each


def released_sets() -> dict[str, dict[str, Released]]:
    """{name of a set of weights: {model name: Released}}."""
    sets = {}
    for weights, models in yaml.safe_load(TABLE.read_text(encoding='utf-8')).items():
        sets[weights] = {model: Released(weights, model, **row) for model, row in models.items()}
    return sets


def released(model_name: str, weights: str = 'coco') -> Released:
    """The Released of a model, like `released('efficientdet-d0', 'advprop')`.

    Raises:
      CheckpointError: this set has no weights of this model; the message lists the sets that have.
    """
    sets = released_sets()
    if model_name not in sets.get(weights, {}):
        available = [name for name, models in sets.items() if model_name in models]
        raise CheckpointError(
            f'no weights {weights!r} were released for {model_name!r}; '
            f'available for this model: {available}'
        )
    return sets[weights][model_name]


def released_config(config: Config, weights: str) -> Config:
    """`config` with what a released set was trained with (image size, scaling of the input).

    Keys that the user changed from the model's own values are left alone.

    Raises:
      CheckpointError: the set has no weights of this model.
    """
    usual = load_config(config.model.name).model
    expected = released(config.model.name, weights).overrides
    unchanged = [k for k in expected if getattr(config.model, k) == getattr(usual, k)]
    return load_config(config, {key: expected[key] for key in unchanged})


def released_checkpoint(model_name: str, weights: str = 'coco') -> pathlib.Path:
    """Path of released weights for `load_official`, downloaded where they are missing.

    They are kept in the folder efficientdet/<weights>/ of Keras' cache ($KERAS_HOME, default
    ~/.keras). Put there by hand, the archive, the folder unpacked from it or an h5 file of the same
    name is found as well.

    Raises:
      CheckpointError: nothing was released, or the download failed; the message tells what to get
        and where to put it.
    """
    release = released(model_name, weights)
    places = _places(release)
    for place in places:
        if place.exists():
            return place
    archive, unpacked, _ = places
    _fetch(release, archive, unpacked)
    return archive


def is_at_hand(model_name: str, weights: str = 'coco') -> bool:
    """Whether `released_checkpoint` would find the weights in the cache, without a download."""
    return any(place.exists() for place in _places(released(model_name, weights)))


def _places(release):
    """Where released weights are looked for: (archive, folder unpacked from it, h5 file)."""
    name = release.url.rpartition('/')[2]
    stem = next(name.removesuffix(ending) for ending in ARCHIVES if name.endswith(ending))
    folder = keras_home() / 'efficientdet' / release.weights
    return folder / name, folder / stem, folder / f'{stem}.h5'


def _fetch(release, archive, unpacked):
    # A name of its own, so that two processes cannot write to the same file.
    working = f'{archive.name}.fetching-{uuid.uuid4().hex}'
    try:
        # Where its cache folder is missing, Keras would download to /tmp.
        archive.parent.mkdir(parents=True, exist_ok=True)
        fetched = keras.utils.get_file(
            working,
            release.url,
            cache_dir=str(keras_home()),
            cache_subdir=f'efficientdet/{release.weights}',
        )
        os.replace(fetched, archive)
    except Exception as error:  # Keras raises a bare Exception where a download fails
        raise CheckpointError(
            f'the weights {release.weights!r} of {release.model} are missing and could not be '
            f'downloaded ({error}). Download {release.url} on a machine with internet access and '
            f'put it here: {archive}, or unpacked here: {unpacked}'
        ) from error
