"""Everything that a caller may pass as images, as uint8 arrays [H, W, 3] one after the other."""

import glob
import logging
import os
import pathlib
from collections.abc import Iterable

import numpy as np
from PIL import Image

from keras_efficientdet.imaging.pil import IMAGE_SUFFIXES, rgb, unreadable, upright
from keras_efficientdet.imaging.video import camera_frames, frames, is_video

_log = logging.getLogger(__name__)

OneImage = str | pathlib.Path | np.ndarray | Image.Image
ImageSource = OneImage | int | Iterable[OneImage]  # int: the number of a camera


def single_images(source: ImageSource) -> Iterable[OneImage]:
    """Splits an image source into single images, each in a form that `read_image` takes.

    Args:
      source: a path, glob pattern, folder or video file, the number of a camera, a PIL image, an
        array [H, W, 3] or [B, H, W, 3], an array or pandas Series of paths, or any iterable of
        paths, PIL images and arrays, which is returned unchanged.
    Raises:
      FileNotFoundError: a folder or pattern without images, or no such camera or video.
    """
    if isinstance(source, str | pathlib.Path):
        return frames(source) if is_video(source) else find_images(source)
    if isinstance(source, int):
        return camera_frames(source)
    if isinstance(source, Image.Image):
        return [source]
    if hasattr(source, '__array__'):
        return _of_array(np.asarray(source))
    return source


def _of_array(array):
    if array.dtype.kind in 'OUT':  # NumPy's letters for objects (such as Path) and kinds of text
        return array.ravel().tolist()
    return array if array.ndim == 4 else [array]


def find_images(path: str | os.PathLike) -> list[pathlib.Path]:
    """Sorted paths of one file, of the images directly in a folder, or of a glob pattern.

    In a pattern `**` stands for any number of folders. A path that is neither a folder nor a
    pattern is returned as it is, whether it exists or not.

    Raises:
      FileNotFoundError: a folder or pattern without images.
    """
    text, path = str(path), pathlib.Path(path)
    if path.is_dir():
        found = _images_among(text, path.iterdir())
    # 'odd[1].png' has the form of a pattern, but may be the name of a file.
    elif glob.has_magic(text) and not path.exists():
        matches = [pathlib.Path(p) for p in glob.glob(text, recursive=True)]
        found = [p for p in matches if p.is_file() and not p.name.startswith('.')]
    else:
        return [path]
    if not found:
        raise FileNotFoundError(f'{text}: no images found')
    return sorted(found)


def _images_among(where, paths):
    """The images among files, without hidden ones. The others are logged."""
    files = [path for path in paths if path.is_file()]
    # macOS leaves ._a.png beside a.png in archives and on other file systems.
    visible = [path for path in files if not path.name.startswith('.')]
    found = [path for path in visible if path.suffix.lower() in IMAGE_SUFFIXES]
    others = sorted(path.name for path in set(files) - set(found))
    if others:
        _log.info('%s: %d files are not images: %s', where, len(others), ', '.join(others[:5]))
    return found


def read_image(image: OneImage) -> np.ndarray:
    """One image as uint8 RGB [H, W, 3], turned upright by its EXIF orientation.

    Args:
      image: a path of any format that Pillow reads, a PIL image, or a uint8 array [H, W, 3].
    Raises:
      OSError: a file that does not exist or cannot be decoded; the message names it.
      ValueError: an array of another dtype or shape.
    """
    if isinstance(image, str | pathlib.Path):
        return _read_file(image)
    if isinstance(image, Image.Image):
        return np.asarray(rgb(upright(image)))
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(
            f'an image must be uint8 [height, width, 3], found {array.dtype} {list(array.shape)}'
        )
    return array


def _read_file(path):
    try:
        with Image.open(path) as opened:
            return np.asarray(rgb(upright(opened)))
    except FileNotFoundError:
        raise
    except Exception as error:  # Pillow raises many types for damaged files
        raise OSError(f'{path}: {unreadable(error)}') from error
