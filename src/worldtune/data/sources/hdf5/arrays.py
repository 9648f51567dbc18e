"""Datasets of an HDF5 file as frames and as rows of numbers, checked before they are read.

Shapes: T frames, H height, W width, C colors.
"""

from typing import Any

import numpy as np

from worldtune.data.ledger import DEPTH, MASK
from worldtune.data.sources.depth import is_depth_array, is_mask_array
from worldtune.data.sources.hdf5.extent import check_extent
from worldtune.data.sources.hdf5.links import get_member, hdf5_error
from worldtune.errors import DataError

FrameShape = tuple[int, int, int]


def frame_shape(dataset: Any, key: str) -> FrameShape | str:
    """Return (T, H, W) of a dataset of frames (T, H, W, C), or why it has no frames."""
    shape: tuple[int, ...] = getattr(dataset, "shape", None) or ()
    dtype = getattr(dataset, "dtype", None)
    if is_depth_array(key, shape, dtype):
        return DEPTH
    if is_mask_array(key, shape):
        return MASK
    if len(shape) != 4 or not shape[1] * shape[2] or not _has_colors(shape[3], dtype):
        return f"not images as uint8 (T, H, W, 3), but {describe_object(dataset)}"
    if reason := unusable_reason(dataset, key):
        return reason
    T, H, W, _ = shape
    return T, H, W


def _has_colors(colors: int, dtype: Any) -> bool:
    """Return whether `pixels.to_rgb` accepts the colors; one color of more than 8 bits is a map, not an image."""
    if dtype == np.uint8:
        return colors in (1, 3, 4)
    return colors in (3, 4) and (dtype == np.uint16 or dtype.kind == "f")


def unusable_reason(dataset: Any, key: str) -> str:
    """Return why a dataset must not be read, or ""."""
    if is_external(dataset):
        return f"a dataset of another file ({key})"
    try:
        check_extent(dataset)
    except DataError as error:
        return error.what
    return ""


def count_rows(group: Any, name: str) -> int | None:
    """Return the number of rows of a numeric dataset, None if it is missing. Raise DataError for anything else."""
    dataset = get_member(group, name)
    if dataset is None:
        return None
    if not getattr(dataset, "shape", None) or dataset.dtype.kind not in "fiub":
        raise hdf5_error(group, "not rows of numbers", name)
    if is_external(dataset):
        raise hdf5_error(group, "a dataset of another file", name)
    check_extent(dataset)
    return len(dataset)


def is_external(dataset: Any) -> bool:
    """Return whether the data are in another file, which this file's digest does not cover."""
    return bool(dataset.is_virtual or dataset.external)


def describe_object(dataset: Any) -> str:
    return f"{dataset.dtype} {dataset.shape}" if hasattr(dataset, "shape") else "a group"
