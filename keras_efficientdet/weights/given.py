"""What `efficientdet(weights=...)` may be given, found before it is read."""

import difflib
import json
import os
import pathlib
import typing
import zipfile

from keras_efficientdet.errors import CheckpointError
from keras_efficientdet.weights.released import released_sets

IMAGENET = 'imagenet'
BEST = 'best.weights.h5'  # in the folder of a training
_EXPORTS = ('.tflite', '.onnx', '.xml', '.pb')


def weight_sets() -> list[str]:
    """The names of weights: 'imagenet' and the released sets."""
    return [IMAGENET, *released_sets()]


def found_weights(weights: typing.Any) -> typing.Any:
    """The weights as they were given; a path becomes one that exists, with ~ expanded.

    The folder of a training becomes the file of its best weights.

    Raises:
      CheckpointError: a name of no set, a file that does not exist, or an exported model.
    """
    if not isinstance(weights, str | os.PathLike) or weights in weight_sets():
        return weights
    path = pathlib.Path(weights).expanduser()
    if (path / 'config.yaml').is_file() and (path / BEST).is_file():
        return path / BEST
    if path.suffix in _EXPORTS or (path / 'saved_model.pb').is_file():
        raise CheckpointError(
            f'{path}: an exported model, whose weights are constants of its graph; give what it '
            'was exported from: the folder of a training, or a .keras or .weights.h5 file'
        )
    # A TensorFlow checkpoint is named by what its files have in common.
    if path.exists() or path.with_name(f'{path.name}.index').is_file():
        return path
    raise CheckpointError(_missing(weights, path))


def _missing(weights, path):
    close = difflib.get_close_matches(str(weights), weight_sets(), n=1)
    hint = f'; did you mean {close[0]!r}?' if close else ''
    return (
        f'weights {str(weights)!r}: no such file ({path.absolute()}), and no set of weights, which '
        f'are {", ".join(weight_sets())}{hint}'
    )


def is_keras_model(weights: typing.Any) -> typing.TypeGuard[str | os.PathLike]:
    """Whether these are the path of a `.keras` file, as `model.save` writes it."""
    return isinstance(weights, str | os.PathLike) and str(weights).endswith('.keras')


def classes_in_keras_model(path: str | os.PathLike) -> int:
    """`num_classes` of the model in a `.keras` file.

    Raises:
      CheckpointError: damaged, or no model of `efficientdet`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            content = json.loads(archive.read('config.json'))
        return content['config']['detection_config']['model']['num_classes']
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise CheckpointError(
            f'{path}: expected a .keras file of a model that `efficientdet` built: {error!r}'
        ) from error
