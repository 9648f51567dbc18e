"""Every metric that needs no weights, of one generated video beside the real one of the same first frame.

Shape letters: T frames, H height, W width, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from worldtune.evaluation.case import Case, Frames, Video
from worldtune.evaluation.comparison import Scores
from worldtune.evaluation.metrics.background import background_drift
from worldtune.evaluation.metrics.fidelity import moving_psnr, mse_by_frame, psnr_from_mse, ssim_by_frame
from worldtune.evaluation.metrics.film import Film
from worldtune.evaluation.metrics.flow import flicker_ratio, motion_agreement, moves
from worldtune.evaluation.metrics.geometry import movement, sampson_ratio
from worldtune.evaluation.metrics.motion import motion_ratio
from worldtune.evaluation.metrics.objects import object_permanence
from worldtune.evaluation.metrics.sharpness import sharpness_ratio


@dataclass(frozen=True, eq=False)
class Shot:
    """A candidate's video of a case beside the real one; `base` is the base's of the same noise, None of the base."""

    case: Case
    candidate: str
    seed: int
    film: Film
    real: Film
    base: Video | None


class Scorer(Protocol):
    """Some metrics of a video, by their `names`; `digest` covers all that they depend on but the code and the videos.

    It is empty where the scorer keeps what it finds itself.
    """

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def digest(self) -> str: ...

    def score(self, shot: Shot) -> Scores:
        """A value, or None, for each of the names."""
        ...


class Plain:
    """What is found in the pixels alone."""

    names = (
        "psnr_db", "moving_psnr_db", "ssim", "motion_ratio", "moves", "motion_agreement", "background_drift",
        "flicker_ratio", "sharpness_ratio", "sampson_ratio", "match_ratio", "object_permanence", "differs",
        "temporal_flickering",
    )  # fmt: skip
    digest = "plain"

    def score(self, shot: Shot) -> Scores:
        """Frame 0 is given and not scored where it would only flatter."""
        film, real = shot.film, shot.real
        frames_THWC, reference_THWC = film.frames_THWC, real.frames_THWC
        mse_t, ssim_t = mse_by_frame(frames_THWC, reference_THWC), ssim_by_frame(frames_THWC, reference_THWC)
        mine, theirs = movement(film), movement(real)
        values: dict[str, float | None] = {
            "psnr_db": psnr_from_mse(float(mse_t.mean())),
            "moving_psnr_db": moving_psnr(frames_THWC, reference_THWC),
            "ssim": sum(ssim_t) / len(ssim_t),
            "motion_ratio": motion_ratio(frames_THWC, reference_THWC),
            "moves": moves(film, real),
            "motion_agreement": motion_agreement(film, real),
            "background_drift": background_drift(film, real),
            "flicker_ratio": flicker_ratio(film, real),
            "sharpness_ratio": sharpness_ratio(film, real),
            "sampson_ratio": sampson_ratio(mine, theirs),
            "match_ratio": mine.matches / theirs.matches if theirs.matches else None,
            "object_permanence": object_permanence(film, real),
            "differs": None if shot.base is None else apart(frames_THWC, shot.base.read()),
            "temporal_flickering": 1 - float(np.abs(np.diff(frames_THWC.astype(np.int16), axis=0)).mean()) / 255,
        }
        return Scores(values, {"psnr_db": [psnr_from_mse(mse) for mse in mse_t.tolist()], "ssim": ssim_t})


def apart(one_THWC: Frames, other_THWC: Frames) -> float:
    """Root mean square difference of frames 1..T-1, in levels."""
    difference_tHWC = one_THWC[1:].astype(np.float32) - other_THWC[1:]
    return float(np.sqrt(np.square(difference_tHWC).mean(dtype=np.float64)))


def diversity(videos: Sequence[Frames]) -> float | None:
    """How far a case's videos of different seeds lie apart, averaged over the pairs; None of a single one."""
    pairs = [apart(one, other) for place, one in enumerate(videos) for other in videos[:place]]
    return float(np.mean(pairs)) if pairs else None
