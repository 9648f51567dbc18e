"""The contents of ALOHA's HDF5 files.

Format: record_episodes.py of github.com/tonyzhaozh/aloha and github.com/MarkFzp/mobile-aloha: /observations/images/CAM
uint8 (T, H, W, 3), or (T, bytes) if the attribute `compress` is set; /observations/qpos; /action. Some other tools
write one string of bytes per frame.

Shapes: T frames, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from worldtune.data.ledger import DEPTH
from worldtune.data.sources.depth import DEPTH_NAME as DEPTH_NAME
from worldtune.data.sources.hdf5.arrays import FrameShape, count_rows, frame_shape, unusable_reason
from worldtune.data.sources.hdf5.extent import check_total_extent
from worldtune.data.sources.hdf5.images import decode_stored
from worldtune.data.sources.hdf5.links import get_member, member_names
from worldtune.data.sources.path_checks import unreadable_reason
from worldtune.data.sources.robomimic.contents import open_hdf5
from worldtune.errors import DataError

SIGNALS = {"observations/qpos": "qpos", "action": "action"}
TASK_ATTRIBUTES = ("language_instruction", "task", "instruction")


@dataclass(frozen=True)
class AlohaContents:
    """A file's contents: per camera (T, H, W) or why it has no usable images; the number of rows by array."""

    cameras: dict[str, FrameShape | str]
    packed: frozenset[str]
    rows: dict[str, int]
    task: str
    unread: tuple[str, ...]


@lru_cache(maxsize=4096)
def read_contents(path: Path, state: str) -> AlohaContents:
    """Return the file's contents; `state` changes whenever the file does. Raise DataError for another layout."""
    hint = "Write it as ALOHA does."
    with open_hdf5(path) as file:
        observations = get_member(file, "observations")
        images = get_member(observations, "images") if hasattr(observations, "keys") else None
        if images is None or not hasattr(images, "keys"):
            raise DataError("the group observations/images is missing", where=str(path), hint=hint)
        packed = {name for name in member_names(images) if _is_packed(_get_or_none(images, name))}
        cameras = {name: _image_shape(images, name, name in packed, str(path)) for name in member_names(images)}
        rows = {name: count for name in SIGNALS if (count := _row_count(file, name)) is not None}
        readable = [name for name, size in cameras.items() if not isinstance(size, str)]
        check_total_extent([*(images[name] for name in readable), *(file[name] for name in rows)], path)
        return AlohaContents(cameras, frozenset(packed), rows, _task_text(file), _unread_names(file))


def _get_or_none(group: Any, name: str) -> Any:
    try:
        return get_member(group, name)
    except DataError:
        return None  # `_image_shape` reports why


def _is_packed(dataset: Any) -> bool:
    """Return whether the images are JPEGs, each in a row of bytes or in a string of bytes."""
    shape = getattr(dataset, "shape", None)
    if shape is None:
        return False
    return (len(shape) == 2 and dataset.dtype == np.uint8) or (len(shape) == 1 and dataset.dtype.kind in "SO")


def _image_shape(images: Any, name: str, packed: bool, where: str) -> FrameShape | str:
    try:
        dataset = get_member(images, name)
        if not packed:
            return frame_shape(dataset, name)
        if reason := DEPTH if DEPTH_NAME.search(name) else unusable_reason(dataset, name):
            return reason
        first_HWC = decode_stored(dataset[0], f"{where} {name}", 0) if len(dataset) else np.empty((0, 0, 3))
        return len(dataset), first_HWC.shape[0], first_HWC.shape[1]
    except DataError as error:
        return error.what


def _row_count(file: Any, name: str) -> int | None:
    """Return the number of rows at a path of at most two names, or None."""
    group, _, last = name.rpartition("/")
    return count_rows(get_member(file, group) if group else file, last)


def _task_text(file: Any) -> str:
    for name in TASK_ATTRIBUTES:
        text = file.attrs.get(name)
        if isinstance(text, str | bytes) and text:
            return (
                text.decode("utf-8", "replace") if isinstance(text, bytes) else text.encode("utf-8", "replace").decode()
            )
    return ""


def _unread_names(file: Any) -> tuple[str, ...]:
    """Return the names of arrays that are not read, such as Mobile ALOHA's base_action."""
    return tuple(sorted(set(member_names(file)) - {"observations", "action", "compress_len", *TASK_ATTRIBUTES}))


def is_aloha(files: Sequence[Path]) -> bool:
    """Return whether the first HDF5 file that can be opened is ALOHA's."""
    for file in files:
        if unreadable_reason(file):
            continue
        try:
            with open_hdf5(file) as content:
                return "observations" in content and "data" not in content
        except DataError:
            continue
    return False
