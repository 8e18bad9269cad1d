"""Images by Pillow: opened, turned upright, converted to RGB."""

import contextlib
import io
import os

import numpy as np
from PIL import Image

from keras_efficientdet.errors import DataError

IMAGE_SUFFIXES = (
    *('.jpg', '.jpeg', '.jpe', '.jfif', '.mpo'),
    *('.png', '.bmp', '.gif', '.webp', '.tif', '.tiff'),
)
_ORIENTATION = 0x0112  # the EXIF tag
_BITS = (8, 10, 12, 14, 16)  # of a grey value
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
    except FileNotFoundError as error:
        raise DataError(f'{path}: there is no such file') from error
    except Exception as error:
        raise DataError(f'{path}: {unreadable(error)}') from error


def unreadable(error: Exception) -> str:
    """What is the matter with an image that Pillow does not read, by Pillow's exception."""
    if isinstance(error, Image.DecompressionBombError):
        return (
            f'{error} Pillow reads no larger images, as a guard against files that exhaust the '
            'memory. Scale the image down or cut it into tiles; if you trust it, set '
            'PIL.Image.MAX_IMAGE_PIXELS to a larger number'
        )
    return f'cannot be read as an image: {error}'


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

    Raises:
      ValueError: colours of 16 bits that use too few of them (`_refuse_dark`).
    """
    # Only images from files have tiles, which say how their pixels are stored.
    deep = image.mode[0] not in 'IF' and ';16' in str(getattr(image, 'tile', ''))
    image.load()  # a damaged image fails here and not in `orientation`, which ignores errors
    if deep:
        _refuse_dark(image)
    turn = _TURNS[orientation(image)]
    return image if turn is None else image.transpose(turn)


def _refuse_dark(image):
    """Of colours of 16 bits Pillow keeps the upper 8, which are dark where 8 to 14 bits are used.

    Grey values keep all bits and are scaled by `rgb`.
    """
    brightest = max(high for _, high in image.convert('RGB').getextrema())
    if brightest < 2**6:
        raise ValueError(
            f'colours of 16 bits whose largest value is below {256 * (brightest + 1)}, so that '
            'only a dark image would be left; store it with 8 bits, or scale it to 0 to 65535'
        )


def rgb(image: Image.Image) -> Image.Image:
    """A PIL image as 8-bit RGB.

    Grey values of more than 8 bits are scaled down here, because Pillow clips them at 255, which
    leaves them white. Files rarely state how many bits they use, so it is the smallest usual number
    that holds the largest value: 8, 10, 12, 14 or 16 bits for whole numbers, and 0 to 1, 255 or
    65535 for fractions.

    Raises:
      ValueError: grey values that are negative, not finite, or of more than 16 bits.
    """
    if image.mode[0] in 'IF':  # I, I;16, I;16B, F
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    return image.convert('RGB')


def _eight_bits(values):
    """uint8 of grey values of any dtype."""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if not 0 <= low <= high < 2**16:  # NaN fails too
        raise ValueError(f'grey values from {low:g} to {high:g}, expected 0 to 1, 255 or 65535')
    if values.dtype.kind == 'f':
        largest = next(limit for limit in (1, 255, 65535) if high <= limit)
        return np.round(values * (255 / largest)).astype(np.uint8)
    bits = next(bits for bits in _BITS if high < 2**bits)
    return (values >> (bits - 8)).astype(np.uint8)


def upright_size(path: str | os.PathLike) -> tuple[int, int]:
    """(height, width) of an image file as viewers display it.

    Raises:
      DataError: the file cannot be read as an image.
    """
    with named(path), Image.open(path) as image:
        width, height = image.size
        return (width, height) if orientation(image) >= _SIDEWAYS else (height, width)
