"""Whatever a caller has, as pictures uint8 [H, W, 3] one after the other."""

import glob
import pathlib

import numpy as np
from PIL import Image

from keras_efficientdet.imaging.pil import IMAGE_SUFFIXES, rgb, upright
from keras_efficientdet.imaging.video import camera_frames, frames, is_video


def single_images(source):
    """What `read_image` takes, one after the other, of: a path, glob pattern, folder or video file, the number of a camera, a
    PIL picture, an array [H, W, 3] or [B, H, W, 3], an array or pandas Series of paths, or any iterable of paths, PIL pictures
    and arrays (as it is).

    Raises FileNotFoundError where nothing is found.
    """
    if isinstance(source, str | pathlib.Path):
        return frames(source) if is_video(source) else find_images(source)
    if isinstance(source, int):
        return camera_frames(source)
    if isinstance(source, Image.Image):
        return [source]
    if hasattr(source, '__array__'):
        array = np.asarray(source)
        if array.dtype.kind in 'OUT':  # text, or objects such as Path
            return array.ravel().tolist()
        return array if array.ndim == 4 else [array]
    return source


def find_images(path):
    """[paths] of a file, of the pictures directly in a folder, or of a glob pattern (`**` for folders below), sorted.

    Raises FileNotFoundError where a folder or pattern has none.
    """
    text, path = str(path), pathlib.Path(path)
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    elif glob.has_magic(text) and not path.exists():
        found = sorted(
            pathlib.Path(p) for p in glob.glob(text, recursive=True) if pathlib.Path(p).is_file()
        )
    else:
        return [path]
    if not found:
        raise FileNotFoundError(f'{text}: no pictures there')
    return found


def read_image(picture):
    """uint8 RGB [H, W, 3] of a path (any format that Pillow reads), of a PIL picture, or of such an array.

    Pictures are turned upright by their EXIF. Raises ValueError for an array of another kind, OSError for an unreadable file;
    both name it.
    """
    if isinstance(picture, str | pathlib.Path):
        try:
            with Image.open(picture) as opened:
                return np.asarray(rgb(upright(opened)))
        except FileNotFoundError:
            raise
        except Exception as error:  # Pillow has many kinds for a damaged picture
            raise OSError(f'{picture}: cannot be read as a picture: {error}') from error
    if isinstance(picture, Image.Image):
        return np.asarray(rgb(upright(picture)))
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(
            f'a picture must be uint8 [height, width, 3], found {array.dtype} {list(array.shape)}'
        )
    return array
