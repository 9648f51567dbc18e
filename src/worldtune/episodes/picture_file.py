"""Read a picture file, or the bytes of one, as one of the kinds that cameras and tools write.

Shapes: H height, W width.
"""

import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from worldtune.core.strict_io import read_bytes
from worldtune.errors import DataError, first_line

KINDS = ("PNG", "JPEG", "BMP", "WEBP")
"""Pillow's names; it knows many more, of which some are scripts and some start other programs."""
SENT = (*KINDS, "TIFF")  # of ROS messages, besides
MAX_PIXELS = 178_956_970  # where Pillow itself takes a picture for a bomb
LARGEST = 1 << 29  # bytes of a file: as many as the pixels take, unpacked
FAULTS = (OSError, SyntaxError, ValueError, LookupError, OverflowError, MemoryError, EOFError, struct.error, zlib.error)
"""What Pillow raises of a damaged file; SyntaxError is its own for a broken PNG."""


def read_picture(path: Path) -> np.ndarray:
    """Return the picture as uint8 RGB (H, W, 3), turned upright as the camera says.

    Raises DataError if the file is not a PNG, JPEG, BMP or WebP, is damaged or has too many pixels.
    """
    data = read_bytes(path, LARGEST, DataError, "Convert it to PNG.")
    try:
        _opened(BytesIO(data), KINDS).verify()  # a PNG's checksums, which Pillow skips when it decodes
        with _opened(BytesIO(data), KINDS) as picture:
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except (*FAULTS, Image.DecompressionBombError) as error:
        what = f"the picture cannot be read: {first_line(error)}"
        raise DataError(what, where=str(path), mend="Convert it to PNG.") from error


def pixels_of(data: bytes) -> int:
    """Return how many pixels the picture of these bytes claims, 0 where it is none of `SENT`."""
    try:
        with _opened(BytesIO(data), SENT) as picture:
            return picture.width * picture.height
    except Image.DecompressionBombError:
        return MAX_PIXELS + 1
    except FAULTS:
        return 0


def _opened(file: BytesIO, kinds: tuple[str, ...]) -> Image.Image:
    """Pillow warns of half as many pixels as it refuses: that is no fault yet."""
    with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
        picture = Image.open(file, formats=kinds)
    if picture.width * picture.height > MAX_PIXELS:
        raise Image.DecompressionBombError(f"it has {picture.width}×{picture.height} pixels")
    return picture
