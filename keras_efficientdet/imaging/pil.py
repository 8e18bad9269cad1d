"""Images by Pillow: opened, turned upright, converted to RGB."""

import contextlib
import io
import os

from PIL import Image

from keras_efficientdet.errors import DataError

IMAGE_SUFFIXES = (
    *('.jpg', '.jpeg', '.jpe', '.jfif', '.mpo'),
    *('.png', '.bmp', '.gif', '.webp', '.tif', '.tiff'),
)
_ORIENTATION = 0x0112  # the EXIF tag
_SIDEWAYS = 5  # orientations from here on swap width and height
_TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@contextlib.contextmanager
def named(path: str | os.PathLike):
    """Turns the many types that Pillow raises for a damaged file into a DataError with its path."""
    try:
        yield
    except Exception as error:
        raise DataError(f'{path}: cannot be read as an image: {error}') from error


def png(image: Image.Image) -> bytes:
    """The bytes of a PNG file of a PIL image."""
    buffer = io.BytesIO()
    image.save(buffer, 'PNG')
    return buffer.getvalue()


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of a PIL image, 1 to 8; 1 where it is missing or damaged."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
        return value if value in _TURNS else 1
    except Exception:  # Pillow raises many types for damaged EXIF
        return 1


def upright(image: Image.Image) -> Image.Image:
    """A PIL image, turned as viewers display it.

    `ImageOps.exif_transpose` cannot do this: it writes all EXIF anew and fails if any of it is
    damaged.
    """
    image.load()  # a damaged image fails here and not in `orientation`, which ignores errors
    turn = _TURNS[orientation(image)]
    return image if turn is None else image.transpose(turn)


def rgb(image: Image.Image) -> Image.Image:
    """A PIL image as 8-bit RGB.

    16-bit grey is scaled down here, because Pillow clips it at 255, which leaves it white.
    """
    if image.mode.startswith('I'):
        image = image.point(lambda v: v / 256)
    return image.convert('RGB')


def upright_size(path: str | os.PathLike) -> tuple[int, int]:
    """(height, width) of an image file as viewers display it.

    Raises:
      DataError: the file cannot be read as an image.
    """
    with named(path), Image.open(path) as image:
        width, height = image.size
        return (width, height) if orientation(image) >= _SIDEWAYS else (height, width)
