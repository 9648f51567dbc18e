"""Recognize depth maps: by their encoding in ROS messages, by name and type in arrays.

Encodings: REP 118 (ros.org/reps/rep-0118.html) has 16UC1 and 32FC1, RealSense's and older drivers mono16;
compressed_depth_image_transport (github.com/ros-perception/image_transport_plugins) adds "compressedDepth".
Names of arrays: robosuite's `CAMERA_depth`, Isaac Lab's `distance_to_image_plane`.
"""

import re
from typing import Any

import numpy as np

DEPTH_ENCODINGS = ("16UC1", "32FC1", "64FC1", "mono16")
DEPTH_NAME = re.compile(r"depth|distance_to_(image_plane|camera)", re.IGNORECASE)
MASK_NAME = re.compile(r"segmentation|normals|motion_vectors", re.IGNORECASE)


def is_depth_message(topic: str, encoding: str) -> bool:
    """Return whether the messages are depth maps; `encoding` is an Image's encoding or a CompressedImage's format."""
    source_encoding, _, compression = encoding.partition(";")
    return (
        source_encoding.strip() in DEPTH_ENCODINGS
        or "compressedDepth" in compression
        or topic.endswith("/compressedDepth")
    )


def is_depth_array(name: str, shape: tuple[int, ...], dtype: Any) -> bool:
    """Return whether an array of frames (T, H, W, …) is depth maps; 8-bit colors are not, whatever the name."""
    colored = len(shape) == 4 and shape[3] in (3, 4) and dtype == np.uint8
    return len(shape) in (3, 4) and bool(DEPTH_NAME.search(name)) and not colored


def is_mask_array(name: str, shape: tuple[int, ...]) -> bool:
    """Return whether an array of frames is another map of a renderer: segments, normals, motion vectors."""
    return len(shape) in (3, 4) and bool(MASK_NAME.search(name))
