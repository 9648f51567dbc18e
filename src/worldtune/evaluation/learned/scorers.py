"""Perceptual metrics of a video against the real one, by models whose weights the user has."""

from collections.abc import Sequence

import numpy as np

from worldtune.core.files import digest_json
from worldtune.evaluation.learned.lpips import Lpips
from worldtune.evaluation.learned.weights import FeatureExtractor
from worldtune.evaluation.metrics.video_features import VideoFeatures
from worldtune.evaluation.scores import Scores
from worldtune.evaluation.scoring.pixel_metrics import VideoPair


class LpipsScorer:
    """LPIPS, averaged over frames 1..T-1."""

    names = ("lpips",)

    def __init__(self, model: Lpips) -> None:
        self._model = model
        self.digest = digest_json(["lpips", model.weights.digest])

    def score(self, pair: VideoPair) -> Scores:
        distances = self._model.distance(pair.features.frames_THWC[1:], pair.real.frames_THWC[1:])
        return Scores({"lpips": float(np.mean(distances))}, {"lpips": distances})


class SubjectScorer:
    """DINO: similarity to the real video, frame by frame, and VBench's subject consistency (arXiv:2311.17982, §3.2)."""

    names = ("dino_similarity", "subject_consistency")

    def __init__(self, extractor: FeatureExtractor) -> None:
        self._extractor = extractor
        self.digest = digest_json(["dino", extractor.weights.digest])

    def score(self, pair: VideoPair) -> Scores:
        generated_TD, real_TD = (_features(self._extractor, features) for features in (pair.features, pair.real))
        similarity_t = (generated_TD[1:] * real_TD[1:]).sum(-1)
        values: dict[str, float | None] = {
            "dino_similarity": float(similarity_t.mean()),
            "subject_consistency": consistency(generated_TD),
        }
        return Scores(values, {"dino_similarity": similarity_t.tolist()})


class BackgroundScorer:
    """CLIP: VBench's background consistency."""

    names = ("background_consistency",)

    def __init__(self, extractor: FeatureExtractor) -> None:
        self._extractor = extractor
        self.digest = digest_json(["clip", extractor.weights.digest])

    def score(self, pair: VideoPair) -> Scores:
        return Scores({"background_consistency": consistency(_features(self._extractor, pair.features))})


def consistency(features_TD: np.ndarray) -> float:
    """Return the mean over frames 1..T-1 of the cosines to the first and to the previous frame, weighted equally."""
    first_t = (features_TD[1:] * features_TD[:1]).sum(-1)
    previous_t = (features_TD[1:] * features_TD[:-1]).sum(-1)
    return float((first_t.clip(0) + previous_t.clip(0)).mean() / 2)


def _features(extractor: FeatureExtractor, features: VideoFeatures) -> np.ndarray:
    return features.compute_once(extractor, lambda features: extractor.frame_features(features.frames_THWC))


def missing_metrics(kinds: Sequence[str]) -> dict[str, str]:
    """Return the metrics without weights, each with the reason."""
    metrics = {"lpips": LpipsScorer.names, "dino": SubjectScorer.names, "clip": BackgroundScorer.names}
    return {
        name: f"no weights: --weights {kind}=FOLDER"
        for kind, names in metrics.items()
        if kind not in kinds
        for name in names
    }
