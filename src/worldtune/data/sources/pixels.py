"""Convert images of other types to 8-bit RGB.

Shapes: H height, W width, C colors.
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from worldtune.data.video.image_file import count_pixels, is_truncated_jpeg
from worldtune.data.video.video_file import MAX_PIXELS
from worldtune.errors import DataError

HINT = "Write 8-bit RGB, 16-bit RGB, or floats from 0 to 1."
FLOAT_TOLERANCE = 1e-3  # resizing can exceed the range 0 to 1 by this much
SIXTEEN_TO_EIGHT_BITS = 257  # divides 16-bit values: 65535 / 255


def to_rgb(image: np.ndarray, where: str) -> np.ndarray:
    """Return uint8 (H, W, 3) from an image (H, W), or (H, W, C) of 1, 3 or 4 colors; transparency is dropped.

    16 bits are divided by 257, floats from 0 to 1 multiplied by 255. Raise DataError for other types, other numbers
    of colors, and floats out of that range.
    """
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        raise DataError(f"images are {image.dtype} {image.shape}", where=where, hint=HINT)
    colors_HWC = _to_uint8(image[..., :3], where)
    return np.repeat(colors_HWC, 3, axis=2) if colors_HWC.shape[2] == 1 else colors_HWC


def _to_uint8(image_HWC: np.ndarray, where: str) -> np.ndarray:
    if image_HWC.dtype == np.uint8:
        return image_HWC
    if image_HWC.dtype == np.uint16:
        return ((image_HWC.astype(np.uint32) + SIXTEEN_TO_EIGHT_BITS // 2) // SIXTEEN_TO_EIGHT_BITS).astype(np.uint8)
    if image_HWC.dtype.kind != "f":
        raise DataError(f"images are {image_HWC.dtype}", where=where, hint=HINT)
    low, high = (float(side(image_HWC)) for side in (np.min, np.max)) if image_HWC.size else (0.0, 0.0)
    if not -FLOAT_TOLERANCE <= low <= high <= 1 + FLOAT_TOLERANCE:  # NaN too
        raise DataError(f"images are floats from {low:.4g} to {high:.4g}, not from 0 to 1", where=where, hint=HINT)
    return np.rint(np.clip(image_HWC.astype(np.float32), 0, 1) * 255).astype(np.uint8)


def decode_bgr(data: np.ndarray) -> np.ndarray | None:
    """Return the pixels (H, W, 3) of a JPEG, PNG …, blue first, at their bit depth; None if damaged or huge."""
    encoded = data.tobytes()
    if not 0 < count_pixels(encoded) <= MAX_PIXELS or is_truncated_jpeg(encoded):
        return None
    try:
        return cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        return None


def check_one_size(frames: Iterable[np.ndarray], where: str) -> Iterator[np.ndarray]:
    """Yield the frames. Raise DataError at the first one whose size differs from the first frame's."""
    size: tuple[int, ...] = ()
    for frame_HWC in frames:
        size = size or frame_HWC.shape
        if frame_HWC.shape != size:
            what = f"its images have different sizes ({size[0]}×{size[1]}, {frame_HWC.shape[0]}×{frame_HWC.shape[1]})"
            raise DataError(what, where=where, hint="Record images of one size.")
        yield frame_HWC


def bgr_to_rgb(image_HWC: np.ndarray) -> np.ndarray:
    """Return the image with red first; a fourth color, transparency, is dropped."""
    code = cv2.COLOR_BGRA2RGB if image_HWC.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(image_HWC, code))
