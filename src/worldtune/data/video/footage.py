"""Footage: where the frames of a recording are stored, and how to read some of them.

Shapes: H height, W width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from worldtune.data.video.frame_features import FrameFeatures
from worldtune.data.video.random_access import read_frames_at
from worldtune.data.video.video_index import video_frame_features

Location = tuple[Path, str]
"""A file, and which of the recordings in it."""


class Footage(Protocol):
    """One camera's recording of one episode; a small value, equal to another of the same frames, with the same hash."""

    @property
    def locations(self) -> tuple[Location, ...]:
        """The files that hold the frames, in order."""
        ...

    @property
    def arrangement(self) -> str:
        """How the locations are combined into one image."""
        ...

    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the frames of rising numbers `wanted`, each with its number, as uint8 (H, W, 3).

        Frames past the end are skipped. Raise DataError where decoding fails.
        """
        ...

    def frame_features(self, frames: int) -> FrameFeatures:
        """Return the features of the first `frames` frames. Raise DataError as `frames` does."""
        ...


@dataclass(frozen=True)
class VideoFootage:
    """The frames of a video file from frame `start` on."""

    video: Path
    start: int = 0

    @property
    def locations(self) -> tuple[Location, ...]:
        return ((self.video, str(self.start)),)

    @property
    def arrangement(self) -> str:
        return ""

    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        for number, frame_HWC in read_frames_at(self.video, [self.start + number for number in wanted]):
            yield number - self.start, frame_HWC

    def frame_features(self, frames: int) -> FrameFeatures:
        return video_frame_features(self.video).select(self.start, frames)
