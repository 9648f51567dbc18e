"""An episode's images in a Zarr array as footage.

Shapes: N frames of all episodes, H height, W width, C colors.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np

from worldtune.core.files import digest_json
from worldtune.data.sources.pixels import to_rgb
from worldtune.data.sources.zarr.arrays import Array, open_array
from worldtune.data.sources.zarr.store import Store
from worldtune.data.video.file_cache import file_state
from worldtune.data.video.footage import Location
from worldtune.data.video.frame_features import FrameFeatures, cached_frame_features


@dataclass(frozen=True)
class ZarrImages:
    """Frames start … end - 1 of an array (N, H, W, C). `scaled_to_255`: whether it has floats from 0 to 255."""

    root: Path
    name: str
    start: int
    end: int
    scaled_to_255: bool = False

    @property
    def locations(self) -> tuple[Location, ...]:
        array = _array(self.root, self.name, _state(self.root, self.name))
        keys = [array.store.array_file(self.name), *array.keys(self.start, self.end)]
        return tuple((file, f"{self.name} {self.start}:{self.end}") for file in array.store.files(keys))

    @property
    def arrangement(self) -> str:
        return ""

    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        array = _array(self.root, self.name, _state(self.root, self.name))
        step, where = array.chunks[0], f"{self.root} {self.name}"
        available = [self.start + number for number in wanted if self.start + number < self.end]
        for row, group in groupby(available, key=lambda number: number // step):
            slab_NHWC = array.read_chunk_row(row)
            for number in group:
                stored_HWC = slab_NHWC[number - row * step]
                yield (
                    number - self.start,
                    to_rgb(_scale_to_unit(stored_HWC) if self.scaled_to_255 else stored_HWC, where),
                )

    def frame_features(self, frames: int) -> FrameFeatures:
        (first, inside), *others = self.locations
        recording_key = digest_json([inside, self.scaled_to_255, *(file_state(file) for file, _ in others)])
        indices = range(self.end - self.start)
        return cached_frame_features(first, recording_key, lambda: (frame for _, frame in self.frames(indices))).select(
            0, frames
        )


def is_scaled_to_255(array: Array) -> bool:
    """Return whether the array has floats from 0 to 255, as Push-T's do: whole numbers, some above 1."""
    if array.dtype.kind != "f" or not array.shape[0]:
        return False
    sample = array.read_chunk_row(0)
    return bool(sample.max(initial=0) > 1 and sample.min(initial=0) >= 0 and (sample == np.rint(sample)).all())


def _scale_to_unit(image_HWC: np.ndarray) -> np.ndarray:
    """Return the image scaled to 0 to 1; `to_rgb` then rounds it, or rejects values out of range."""
    return np.asarray(image_HWC / 255)


@lru_cache(maxsize=256)
def _array(root: Path, name: str, state: str) -> Array:
    return open_array(Store(root), name)


def _state(root: Path, name: str) -> str:
    store = Store(root)
    file = root / store.array_file(name) if root.is_dir() else root
    return f"{os.getpid()} {file_state(file)}"
