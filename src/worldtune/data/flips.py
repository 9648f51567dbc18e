"""Flipped footage: some simulators store images as OpenGL draws them, the lowest row first.

Shapes: T frames, H height, W width, C colors.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from worldtune.data.episode import Episode, Problem
from worldtune.data.video.footage import Footage, Location
from worldtune.data.video.frame_features import FrameFeatures

Flip = Literal["vertical", "horizontal", "both"]
"""Upside down, mirrored, or both (turned by 180°)."""
UPSIDE_DOWN = "its images are stored upside down, as LIBERO's are: set data.flip=vertical"


@dataclass(frozen=True)
class FlippedFootage:
    """A flipped recording."""

    footage: Footage
    direction: Flip

    @property
    def locations(self) -> tuple[Location, ...]:
        return self.footage.locations

    @property
    def arrangement(self) -> str:
        return f"{self.footage.arrangement} flipped {self.direction}".strip()

    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        for number, frame_HWC in self.footage.frames(wanted):
            yield number, np.ascontiguousarray(_flip(frame_HWC[None], self.direction)[0])

    def frame_features(self, frames: int) -> FrameFeatures:
        frame_features = self.footage.frame_features(frames)
        return replace(
            frame_features,
            thumbs=_flip(frame_features.thumbs, self.direction),
            motion=_flip(frame_features.motion, self.direction),
        )


def _flip(images_THW: np.ndarray, direction: Flip) -> np.ndarray:
    rows, columns = direction in ("vertical", "both"), direction in ("horizontal", "both")
    return images_THW[:, :: -1 if rows else 1, :: -1 if columns else 1]


def flip_episode(episode: Episode, direction: Flip) -> Episode:
    """Return the episode with flipped footage, and a note about it."""
    note = "; ".join(filter(None, [episode.note, f"flipped ({direction})"]))
    return replace(episode, footage=FlippedFootage(episode.footage, direction), note=note)


def drop_upside_down_warning(problems: Iterable[Problem], direction: Flip | None) -> list[Problem]:
    """Return the problems, without the warning about upside-down images if they are flipped already."""
    return [problem for problem in problems if direction is None or problem.what != UPSIDE_DOWN]
