"""Metrics by the vision models whose weights the user has: scores of videos, and distances between sets of videos."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from worldtune.evaluation.cases.case import CandidateVideos, Case, Frames
from worldtune.evaluation.learned.frechet import Distance, Features, has_enough_episodes, measure_distance
from worldtune.evaluation.learned.lpips import Lpips
from worldtune.evaluation.learned.scorers import BackgroundScorer, LpipsScorer, SubjectScorer
from worldtune.evaluation.learned.weights import FeatureExtractor, Weights
from worldtune.evaluation.scoring.pixel_metrics import Scorer

FRAMES_PER_CLIP = 8  # frames of a clip in the set of pictures
DISTANCES = {"videomae": "FVD (VideoMAE)", "dino": "FD of frames (DINOv2)"}
"""The Fréchet distances by kind of weights (arXiv:2404.12391, arXiv:2306.04675)."""


class LearnedMetrics:
    """The models of `weights`, loaded once. Raise UserError if one cannot be loaded."""

    def __init__(self, weights: Mapping[str, Weights], device: str) -> None:
        self.weights = weights
        self._extractors = {
            kind: FeatureExtractor(kind_weights, device) for kind, kind_weights in weights.items() if kind != "lpips"
        }
        self.scorers: list[Scorer] = []
        if "lpips" in weights:
            self.scorers.append(LpipsScorer(Lpips(weights["lpips"], device)))
        if "dino" in self._extractors:
            self.scorers.append(SubjectScorer(self._extractors["dino"]))
        if "clip" in self._extractors:
            self.scorers.append(BackgroundScorer(self._extractors["clip"]))

    def distances(self, cases: Sequence[Case], candidates: CandidateVideos) -> list[Distance]:
        """Return the distance of each candidate's videos (first seed) to the real ones, for each kind of weights."""
        distances = []
        for kind, metric in DISTANCES.items():
            extractor = self._extractors.get(kind)
            if extractor is None:
                continue
            extract = _video_features(extractor) if kind == "videomae" else _frame_features(extractor)
            episodes = [case.episode for case in cases]
            compared = cases if has_enough_episodes(episodes) else []  # with too few, no features are needed
            real = [extract(case.reference.read()) for case in compared]
            for name, clips in candidates.items():
                generated = [extract(clips[case.name][0].read()) for case in compared]
                distances.append(measure_distance(metric, name, extractor.weights.digest, generated, real, episodes))
        return distances


def missing_distances(kinds: Sequence[str]) -> dict[str, str]:
    """Return the distances without weights, each with the reason."""
    return {name: f"no weights: --weights {kind}=FOLDER" for kind, name in DISTANCES.items() if kind not in kinds}


def _video_features(extractor: FeatureExtractor) -> Callable[[Frames], Features]:
    return lambda frames_THWC: extractor.video_features(frames_THWC)[None].astype(np.float64)


def _frame_features(extractor: FeatureExtractor) -> Callable[[Frames], Features]:
    def extract(frames_THWC: Frames) -> Features:
        indices = np.linspace(1, len(frames_THWC) - 1, FRAMES_PER_CLIP).round().astype(int)
        return extractor.frame_features(frames_THWC[indices]).astype(np.float64)

    return extract
