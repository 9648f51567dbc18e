"""Images of ROS and Foxglove messages.

Shapes: H height, W width, C colors.
"""

from typing import Any, Literal

import cv2
import numpy as np

from worldtune.data.sources.depth import is_depth_message
from worldtune.data.sources.pixels import bgr_to_rgb, decode_bgr, to_rgb
from worldtune.errors import DataError

ENCODINGS = {  # channels and their type; REP 118 and sensor_msgs/image_encodings.hpp
    "rgb8": (3, np.uint8),
    "bgr8": (3, np.uint8),
    "rgba8": (4, np.uint8),
    "bgra8": (4, np.uint8),
    "mono8": (1, np.uint8),
    "8UC1": (1, np.uint8),
    "8UC3": (3, np.uint8),
    "rgb16": (3, np.uint16),
    "bgr16": (3, np.uint16),
    "rgba16": (4, np.uint16),
    "bgra16": (4, np.uint16),
    "16UC3": (3, np.uint16),
    "32FC3": (3, np.float32),
}
BLUE_FIRST = ("bgr8", "bgra8", "8UC3", "bgr16", "bgra16", "16UC3", "32FC3")  # where no order is stated, it is OpenCV's


def is_depth_image(topic: str, message: Any) -> bool:
    """Return whether an Image or CompressedImage of the topic is a depth map."""
    if hasattr(message, "encoding"):
        return is_depth_message(topic, message.encoding)
    if is_depth_message(topic, message.format):
        return True
    data = np.asarray(message.data, np.uint8)
    decoded = decode_bgr(data)
    return decoded is not None and _is_deep_and_gray(decoded, data)


def decode_image_message(message: Any, where: str) -> np.ndarray:
    """Return uint8 (H, W, 3) of an Image or CompressedImage. Raise DataError for other encodings and damage."""
    hint = "Record it as JPEG or PNG (CompressedImage) or as rgb8, bgr8 or mono8 (Image)."
    if not hasattr(message, "encoding"):
        data = np.asarray(message.data, np.uint8)
        decoded = decode_bgr(data)
        if decoded is None:
            raise DataError(f"an image of format {message.format!r} cannot be decoded", where=where, hint=hint)
        if _is_deep_and_gray(decoded, data):
            raise DataError(f"images have one color of type {decoded.dtype}", where=where, hint=hint)
        return to_rgb(bgr_to_rgb(decoded), where)
    if message.encoding not in ENCODINGS:
        raise DataError(f"images are encoded as {message.encoding!r}", where=where, hint=hint)
    channels, kind = ENCODINGS[message.encoding]
    H, W, step = message.height, message.width, message.step
    width = W * channels * np.dtype(kind).itemsize
    if not H * W or step < width or len(message.data) != H * step:
        what = f"{len(message.data)} bytes are not an image of {H}×{W} {message.encoding}"
        raise DataError(what, where=where, hint="Record it again.")
    rows = np.ascontiguousarray(np.asarray(message.data, np.uint8).reshape(H, step)[:, :width])
    order: Literal[">", "<"] = ">" if getattr(message, "is_bigendian", 0) else "<"
    frame_HWC = rows.view(np.dtype(kind).newbyteorder(order)).astype(kind).reshape(H, W, channels)
    return to_rgb(bgr_to_rgb(frame_HWC) if message.encoding in BLUE_FIRST else frame_HWC, where)


def _is_deep_and_gray(decoded_HWC: np.ndarray, data: np.ndarray) -> bool:
    """Return whether the image has more than 8 bits of one color, as compressed depth images do."""
    if decoded_HWC.dtype == np.uint8:
        return False
    stored = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    return stored is not None and stored.ndim == 2
