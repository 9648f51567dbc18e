"""One held-out clip on which every candidate is judged, and videos that are read when they are asked for.

Shape letters: T frames, H height, W width, C colour channels (RGB), D coordinates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worldtune.errors import DataError
from worldtune.files import digest_bytes

Frames = npt.NDArray[np.uint8]
Track = npt.NDArray[np.float32]
"""Where the gripper is in each frame, (T, D), in the units of the dataset's states."""

SMALLEST_SIDE = 11
"""Pixels: the window of SSIM must fit."""
BASE_DOMAIN = "base domain"
"""The domain of clips that only measure forgetting: they never enter the headline."""


@dataclass(frozen=True, eq=False)
class Video:
    """A video that is read when it is asked for, so that an evaluation holds few at once.

    `digest` names what it shows, or all that made it: two of the same digest have the same frames.
    """

    source: Callable[[], Frames]
    digest: str
    where: str = "a video"

    def read(self) -> Frames:
        """uint8 frames_THWC. Raises DataError when they are no video (see `check_frames`), or cannot be read."""
        frames_THWC = self.source()
        check_frames(frames_THWC, where=self.where)
        return frames_THWC


Candidates = Mapping[str, Mapping[str, Sequence[Video]]]
"""By candidate and case: one video for each seed, or a single one for all of them."""


def held(frames_THWC: Frames, where: str = "a video") -> Video:
    """A video of frames that are in memory. Raises DataError as `Video.read` does."""
    check_frames(frames_THWC, where=where)
    return Video(lambda: frames_THWC, digest_bytes(str(frames_THWC.shape).encode() + frames_THWC.tobytes()), where)


@dataclass(frozen=True, eq=False)
class Case:
    """The real video of one held-out clip, with what the candidates were asked for.

    `name` is unique in an evaluation; clips of one `episode` count as one in the statistics;
    `domain` is "new camera", `BASE_DOMAIN`, ... `path_TD` is where the gripper really was, if the dataset says it.
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
    """Raises DataError unless `frames_THWC` is uint8 RGB (T, H, W, 3) with T ≥ 2 and sides of 11 pixels or more."""
    shape, dtype = frames_THWC.shape, frames_THWC.dtype
    if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or shape[0] < 2 or min(shape[1:3]) < SMALLEST_SIDE:
        raise DataError(
            f"frames are {dtype} of shape {shape}, not a video",
            where=where,
            mend="Give uint8 RGB frames of shape (T, H, W, 3): two frames or more of at least 11 by 11 pixels.",
        )
