"""Pictures that Pillow decodes and yet stumbles over."""

import io
import struct
import zlib

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


def png_of_16_bits(values):
    """Bytes of a PNG of uint16 [H, W] or [H, W, 3], which Pillow does not write in colour."""
    height, width = values.shape[:2]
    colour = 2 if values.ndim == 3 else 0
    rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in values)
    header = struct.pack('>IIBBBBB', width, height, 16, colour, 0, 0, 0)
    parts = (b'IHDR', header), (b'IDAT', zlib.compress(rows)), (b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + b''.join(map(_chunk, parts))


def _chunk(part):
    kind, data = part
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
