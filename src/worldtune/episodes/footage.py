"""Where the frames of a recording lie, and how to get some of them.

Shapes: H height, W width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from worldtune.episodes.looks import Looks
from worldtune.episodes.scan import looks_of
from worldtune.episodes.seeking import read_chosen

Place = tuple[Path, str]
"""A file, and which of the recordings in it."""


class Footage(Protocol):
    """One camera's recording of one episode; a small value, equal to and hashed as another one of the same frames."""

    @property
    def places(self) -> tuple[Place, ...]:
        """What the frames are made of, in order."""
        ...

    @property
    def arrangement(self) -> str:
        """How the places make one picture."""
        ...

    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """The frames of rising numbers `wanted`, each with its number, as uint8 (H, W, 3).

        Those past the end do not come. Raises DataError where decoding fails.
        """
        ...

    def looks(self, frames: int) -> Looks:
        """What the first `frames` frames look like. Raises DataError as `frames` does."""
        ...


@dataclass(frozen=True)
class Film:
    """The frames of a video file from frame `start` on."""

    video: Path
    start: int = 0

    @property
    def places(self) -> tuple[Place, ...]:
        return ((self.video, str(self.start)),)

    @property
    def arrangement(self) -> str:
        return ""

    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        for number, frame_HWC in read_chosen(self.video, [self.start + number for number in wanted]):
            yield number - self.start, frame_HWC

    def looks(self, frames: int) -> Looks:
        return looks_of(self.video).part(self.start, frames)
