"""One held-out clip on which every candidate is judged.

Shape letters: T frames, H height, W width, C colour channels (RGB).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worldtune.errors import DataError

Frames = npt.NDArray[np.uint8]

SMALLEST_SIDE = 11
"""Pixels: the window of SSIM must fit."""
BASE_DOMAIN = "base domain"
"""The domain of clips that only measure forgetting: they never enter the headline."""


@dataclass(frozen=True, eq=False)
class Case:
    """The reference video of one held-out clip, with what the candidates were asked for.

    `name` is unique in an evaluation; clips of one `episode` count as one in the statistics;
    `domain` is "new camera", `BASE_DOMAIN`, ...
    Raises DataError when the reference is no video (see `check_frames`).
    """

    name: str
    episode: str
    task: str
    camera: str
    prompt: str
    reference_THWC: Frames
    domain: str = "target domain"

    def __post_init__(self) -> None:
        check_frames(self.reference_THWC, where=f"case {self.name}, reference")


def check_frames(frames_THWC: Frames, *, where: str) -> None:
    """Raises DataError unless `frames_THWC` is uint8 RGB (T, H, W, 3) with T ≥ 2 and sides of 11 pixels or more."""
    shape, dtype = frames_THWC.shape, frames_THWC.dtype
    if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or shape[0] < 2 or min(shape[1:3]) < SMALLEST_SIDE:
        raise DataError(
            f"frames are {dtype} of shape {shape}, not a video",
            where=where,
            mend="Give uint8 RGB frames of shape (T, H, W, 3): two frames or more of at least 11 by 11 pixels.",
        )
