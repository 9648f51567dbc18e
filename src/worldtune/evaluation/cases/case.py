"""A held-out clip as a case of an evaluation, and videos that are read on demand.

Shape letters: T frames, H height, W width, C color channels (RGB), D coordinates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worldtune.core.files import digest_bytes
from worldtune.errors import DataError

Frames = npt.NDArray[np.uint8]
Track = npt.NDArray[np.float32]
"""The gripper's position in each frame, (T, D), in the units of the dataset's states."""

MIN_SIDE = 11
"""Smallest side in pixels: the window of SSIM must fit."""
BASE_DOMAIN = "base domain"
"""The domain of clips that only measure retention; they are never part of the headline."""


@dataclass(frozen=True, eq=False)
class Video:
    """A video that is read on demand, so that an evaluation holds few videos in memory.

    `digest` covers its frames or everything they were generated from: equal digests mean equal frames.
    """

    source: Callable[[], Frames]
    digest: str
    where: str = "a video"

    def read(self) -> Frames:
        """Return uint8 frames_THWC. Raise DataError if they are unreadable or not a video (see `check_frames`)."""
        frames_THWC = self.source()
        check_frames(frames_THWC, where=self.where)
        return frames_THWC


CandidateVideos = Mapping[str, Mapping[str, Sequence[Video]]]
"""Videos by candidate and case: one for each seed, or a single one for all seeds."""


def video_from_frames(frames_THWC: Frames, where: str = "a video") -> Video:
    """Return a video of frames in memory. Raise DataError as `Video.read` does."""
    check_frames(frames_THWC, where=where)
    return Video(lambda: frames_THWC, digest_bytes(str(frames_THWC.shape).encode() + frames_THWC.tobytes()), where)


@dataclass(frozen=True, eq=False)
class Case:
    """The real video of one held-out clip and the prompt for the candidates.

    `name` is unique in an evaluation. The statistics count clips of one `episode` as one. `domain` is "new camera",
    `BASE_DOMAIN`, … `path_TD` is the recorded path of the gripper, if the dataset has states.
    """

    name: str
    episode: str
    task: str
    camera: str
    prompt: str
    reference: Video
    domain: str = "target domain"
    path_TD: Track | None = None


def check_frames(frames_THWC: Frames, *, where: str) -> None:
    """Raise DataError unless `frames_THWC` is uint8 RGB (T, H, W, 3) with T ≥ 2 and sides of 11 pixels or more."""
    shape, dtype = frames_THWC.shape, frames_THWC.dtype
    if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or shape[0] < 2 or min(shape[1:3]) < MIN_SIDE:
        raise DataError(
            f"frames are {dtype} of shape {shape}, not a video",
            where=where,
            hint="Give uint8 RGB frames of shape (T, H, W, 3): two frames or more of at least 11 by 11 pixels.",
        )
