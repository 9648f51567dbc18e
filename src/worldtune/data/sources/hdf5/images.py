"""Images in an HDF5 file as footage: arrays of pixels, or JPEGs.

Shapes: T frames, H height, W width, C colors.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from worldtune.data.sources.hdf5.extent import read_images
from worldtune.data.sources.pixels import bgr_to_rgb, check_one_size, decode_bgr, to_rgb
from worldtune.data.sources.robomimic.contents import open_hdf5
from worldtune.data.video.footage import Location
from worldtune.data.video.frame_features import FrameFeatures, cached_frame_features
from worldtune.errors import DataError


@dataclass(frozen=True)
class Hdf5Images:
    """A dataset of images (T, H, W, C) in an HDF5 file; if `is_encoded`, of JPEGs or PNGs (T, bytes)."""

    file: Path
    name: str
    is_encoded: bool = False

    @property
    def locations(self) -> tuple[Location, ...]:
        return ((self.file, self.name),)

    @property
    def arrangement(self) -> str:
        return ""

    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        with open_hdf5(self.file) as file:
            yield from self._read(file[self.name], wanted)

    def frame_features(self, frames: int) -> FrameFeatures:
        def all_frames() -> Iterator[np.ndarray]:
            with open_hdf5(self.file) as file:
                dataset = file[self.name]
                frames = (frame_HWC for _, frame_HWC in self._read(dataset, range(len(dataset))))
                yield from check_one_size(frames, f"{self.file} {self.name}")

        return cached_frame_features(self.file, self.name, all_frames).select(0, frames)

    def _read(self, dataset: Any, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        where = f"{self.file} {self.name}"
        for number, stored in read_images(dataset, wanted):
            yield number, decode_stored(stored, where, number) if self.is_encoded else to_rgb(stored, where)


def decode_stored(stored: Any, where: str, number: int) -> np.ndarray:
    """Return uint8 (H, W, 3) of a JPEG's or PNG's bytes, with padding after them. Raise DataError for other bytes."""
    data = np.frombuffer(stored, np.uint8) if isinstance(stored, bytes) else np.asarray(stored, np.uint8)
    decoded_HWC = decode_bgr(data)
    if decoded_HWC is None:
        raise DataError(f"the image of frame {number} cannot be decoded", where=where, hint="Export it again.")
    return to_rgb(bgr_to_rgb(decoded_HWC), where)
