"""Pictures that Pillow decodes and yet stumbles over."""

import io
import struct

from PIL import Image

ORIENTATION = struct.pack('<HHII', 0x0112, 3, 1, 6)  # lies on its side
TEXT_AS_UNIT = struct.pack(
    '<HHII', 0x0128, 2, 1, 0
)  # ResolutionUnit, a number, as text: it cannot be written again


def exif():
    """EXIF whose orientation is 6, and of which one tag is malformed."""
    return (
        b'Exif\0\0II*\0'
        + struct.pack('<IH', 8, 2)
        + ORIENTATION
        + TEXT_AS_UNIT
        + struct.pack('<I', 0)
    )


def jpeg(picture):
    """Bytes of a JPEG of uint8 [H, W, 3] that a viewer shows turned to the right."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, 'JPEG', quality=95, exif=exif())
    return file.getvalue()
