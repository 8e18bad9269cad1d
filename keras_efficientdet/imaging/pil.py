"""Pillow images: read, turned upright, as RGB."""

import contextlib
import io

from PIL import Image

from keras_efficientdet.errors import DataError

_ORIENTATION = 0x0112  # the EXIF tag
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
def named(path):
    """Whatever Pillow raises of a damaged picture, of which there are many kinds, as a DataError that names it."""
    try:
        yield
    except Exception as error:
        raise DataError(f'{path}: cannot be read as a picture: {error}') from error


def png(picture):
    buffer = io.BytesIO()
    picture.save(buffer, 'PNG')
    return buffer.getvalue()


def orientation(picture):
    """The EXIF orientation of a PIL picture, 1 to 8; 1 where there is none, or it is damaged."""
    try:
        value = picture.getexif().get(_ORIENTATION, 1)
        return value if value in _TURNS else 1
    except Exception:  # Pillow has many kinds here too
        return 1


def upright(picture):
    """A PIL picture as a viewer shows it. ImageOps.exif_transpose writes all EXIF anew, and fails where any of it is damaged."""
    picture.load()  # a broken picture is an error here, not one of its EXIF
    turn = _TURNS[orientation(picture)]
    return picture if turn is None else picture.transpose(turn)


def rgb(picture):
    """A PIL picture as 8-bit RGB. Pillow itself cuts 16-bit grey at 255, which leaves a white picture."""
    return (picture.point(lambda v: v / 256) if picture.mode.startswith('I') else picture).convert(
        'RGB'
    )


IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.gif', '.webp', '.tif', '.tiff')


def upright_size(path):
    """(height, width) of a picture as a viewer shows it. Raises DataError where it cannot be read."""
    with named(path), Image.open(path) as picture:
        return picture.size if orientation(picture) >= 5 else picture.size[::-1]
