"""All metrics that need no weights, for a generated video against the real one with the same first frame.

Shape letters: T frames, H height, W width, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from worldtune.evaluation.cases.case import Case, Frames, Video
from worldtune.evaluation.metrics.background import background_drift
from worldtune.evaluation.metrics.fidelity import moving_psnr, mse_by_frame, psnr_from_mse, ssim_by_frame
from worldtune.evaluation.metrics.flow import flicker_ratio, flow_agreement, has_motion
from worldtune.evaluation.metrics.geometry import measure_neighbor_frames, sampson_ratio
from worldtune.evaluation.metrics.motion import motion_ratio
from worldtune.evaluation.metrics.objects import object_permanence
from worldtune.evaluation.metrics.sharpness import sharpness_ratio
from worldtune.evaluation.metrics.video_features import VideoFeatures
from worldtune.evaluation.scores import Scores


@dataclass(frozen=True, eq=False)
class VideoPair:
    """A candidate's video of a case and the real one. `base` is the base's video of the same noise, if any."""

    case: Case
    candidate: str
    seed: int
    features: VideoFeatures
    real: VideoFeatures
    base: Video | None


class Scorer(Protocol):
    """An object that measures the metrics `names` of a video.

    `digest` covers everything the scores depend on except the code and the videos. It is empty if the scorer caches
    its own results.
    """

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def digest(self) -> str: ...

    def score(self, pair: VideoPair) -> Scores:
        """Return a value or None for each of the names."""
        ...


class PixelScorer:
    """The metrics that need only the pixels of the videos."""

    names = (
        "psnr_db", "moving_psnr_db", "ssim", "motion_ratio", "moves", "flow_agreement", "background_drift",
        "flicker_ratio", "sharpness_ratio", "sampson_ratio", "match_ratio", "object_permanence", "base_difference",
        "temporal_flickering",
    )  # fmt: skip
    digest = "plain"

    def score(self, pair: VideoPair) -> Scores:
        """Return all pixel metrics. Similarity metrics skip frame 0, which is the input."""
        features, real = pair.features, pair.real
        frames_THWC, reference_THWC = features.frames_THWC, real.frames_THWC
        mse_t, ssim_t = mse_by_frame(frames_THWC, reference_THWC), ssim_by_frame(frames_THWC, reference_THWC)
        generated, reference = measure_neighbor_frames(features), measure_neighbor_frames(real)
        values: dict[str, float | None] = {
            "psnr_db": psnr_from_mse(float(mse_t.mean())),
            "moving_psnr_db": moving_psnr(frames_THWC, reference_THWC),
            "ssim": sum(ssim_t) / len(ssim_t),
            "motion_ratio": motion_ratio(frames_THWC, reference_THWC),
            "moves": has_motion(features, real),
            "flow_agreement": flow_agreement(features, real),
            "background_drift": background_drift(features, real),
            "flicker_ratio": flicker_ratio(features, real),
            "sharpness_ratio": sharpness_ratio(features, real),
            "sampson_ratio": sampson_ratio(generated, reference),
            "match_ratio": generated.matches / reference.matches if reference.matches else None,
            "object_permanence": object_permanence(features, real),
            "base_difference": None if pair.base is None else rms_difference(frames_THWC, pair.base.read()),
            "temporal_flickering": 1 - float(np.abs(np.diff(frames_THWC.astype(np.int16), axis=0)).mean()) / 255,
        }
        return Scores(values, {"psnr_db": [psnr_from_mse(mse) for mse in mse_t.tolist()], "ssim": ssim_t})


def rms_difference(first_THWC: Frames, second_THWC: Frames) -> float:
    """Return the root mean square difference of frames 1..T-1, in levels."""
    difference_tHWC = first_THWC[1:].astype(np.float32) - second_THWC[1:]
    return float(np.sqrt(np.square(difference_tHWC).mean(dtype=np.float64)))


def diversity(videos: Sequence[Frames]) -> float | None:
    """Return the mean RMS difference between pairs of a case's videos of different seeds; None for a single video."""
    pairs = [
        rms_difference(first_video, second_video)
        for index, first_video in enumerate(videos)
        for second_video in videos[:index]
    ]
    return float(np.mean(pairs)) if pairs else None
