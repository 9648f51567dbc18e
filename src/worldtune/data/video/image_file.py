"""Read an image from a file or from bytes, in the formats that cameras and tools write.

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

FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
"""Pillow's names; it knows many more formats, and some of them are scripts or start other programs."""
MESSAGE_FORMATS = (*FORMATS, "TIFF")  # of ROS messages
MAX_PIXELS = 178_956_970  # above this, Pillow rejects an image as a decompression bomb
END_MARKER_WINDOW = 1 << 20  # bytes at the end of a JPEG, with padding, that are searched for its end marker
LARGEST = 1 << 29  # bytes of a file: as many as the decoded pixels take
PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    OverflowError,
    MemoryError,
    EOFError,
    struct.error,
    zlib.error,
)
"""What Pillow raises for a damaged file; it raises SyntaxError for a broken PNG."""


def read_image(path: Path) -> np.ndarray:
    """Return the image as uint8 RGB (H, W, 3), turned upright as the camera says; 16 bits are scaled to 8.

    Raise DataError if the file is not a PNG, JPEG, BMP or WebP, is damaged or has too many pixels.
    """
    return decode_image(read_bytes(path, LARGEST, DataError, "Convert it to PNG."), str(path))


def decode_image(data: bytes, where: str) -> np.ndarray:
    """Return the image in these bytes as `read_image` does; an error names `where`."""
    try:
        _open_image(BytesIO(data), FORMATS).verify()  # a PNG's checksums, which Pillow skips when it decodes
        with _open_image(BytesIO(data), FORMATS) as image:
            return _colors(ImageOps.exif_transpose(image))
    except (*PILLOW_ERRORS, Image.DecompressionBombError) as error:
        what = f"the picture cannot be read: {first_line(error)}"
        raise DataError(what, where=where, hint="Convert it to PNG.") from error


def _colors(image: Image.Image) -> np.ndarray:
    """Return uint8 RGB. 16-bit gray is scaled here, because Pillow would clip its values at 255."""
    if image.mode not in ("I", "I;16", "I;16B", "I;16L"):
        return np.asarray(image.convert("RGB"))
    deep_HW = np.asarray(image, np.uint32).clip(0, 65535)
    return np.repeat(((deep_HW + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)


def count_pixels(data: bytes) -> int:
    """Return how many pixels the image in these bytes claims, 0 if it has none of the `MESSAGE_FORMATS`."""
    try:
        with _open_image(BytesIO(data), MESSAGE_FORMATS) as image:
            return image.width * image.height
    except Image.DecompressionBombError:
        return MAX_PIXELS + 1
    except PILLOW_ERRORS:
        return 0


def is_truncated_jpeg(data: bytes) -> bool:
    """Return whether the bytes are a JPEG without end marker (ITU-T T.81 §B.1.1.3); OpenCV would fill up with gray."""
    return data.startswith(b"\xff\xd8") and b"\xff\xd9" not in data[-END_MARKER_WINDOW:]


def _open_image(file: BytesIO, formats: tuple[str, ...]) -> Image.Image:
    """Open an image of at most `MAX_PIXELS`; Pillow already warns at half as many."""
    with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
        image = Image.open(file, formats=formats)
    if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError(f"it has {image.width}×{image.height} pixels")
    return image
