"""Memorization: a video's distance to the nearest training clip, relative to the real video's distance.

Shape letters: N clips, T frames, D values of a thumbnail.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from worldtune.core.files import digest_json
from worldtune.evaluation.candidates.baselines import nearest_clip, thumbnails
from worldtune.evaluation.cases.case import Case, Video
from worldtune.evaluation.metrics.video_features import VideoFeatures, compute_once
from worldtune.evaluation.scores import Scores
from worldtune.evaluation.scoring.pixel_metrics import VideoPair

Thumbnails = npt.NDArray[np.float32]


class MemorizationScorer:
    """The memorization ratio against thumbnails of all frames of the `training` clips."""

    names = ("memorization_ratio",)

    def __init__(self, training: Sequence[Video]) -> None:
        self.training = training
        self._clips = [thumbnails(video.read()) for video in training]
        self.digest = digest_json(["memory", [video.digest for video in training]])

    def nearest_to(self, case: Case) -> Video:
        """Return the training clip whose first frame is most like the case's, as a control."""
        return nearest_clip(case, self.training, np.stack([clip_TD[0] for clip_TD in self._clips]))

    def score(self, pair: VideoPair) -> Scores:
        real = self._distance(_thumbnails(pair.real))
        return Scores({"memorization_ratio": self._distance(_thumbnails(pair.features)) / real if real > 0 else None})

    def _distance(self, video_TD: Thumbnails) -> float:
        """Return the root mean square difference to the nearest clip, over the frames that both have, in levels."""
        return float(min(_rms_distance(video_TD, clip_TD) for clip_TD in self._clips))


def _rms_distance(video_TD: Thumbnails, clip_TD: Thumbnails) -> float:
    T = min(len(video_TD), len(clip_TD))
    return float(np.sqrt(np.square(video_TD[:T] - clip_TD[:T]).mean()))


@compute_once
def _thumbnails(features: VideoFeatures) -> Thumbnails:
    return thumbnails(features.frames_THWC)
