"""Perceptual metrics of a video beside the real one, by models whose weights the user has."""

from collections.abc import Sequence

import numpy as np

from worldtune.evaluation.comparison import Scores
from worldtune.evaluation.learned.lpips import Lpips
from worldtune.evaluation.learned.weights import Seer
from worldtune.evaluation.metrics.film import Film
from worldtune.evaluation.scoring import Shot
from worldtune.files import digest_json


class Perceptual:
    """LPIPS, averaged over frames 1..T-1."""

    names = ("lpips",)

    def __init__(self, model: Lpips) -> None:
        self._model = model
        self.digest = digest_json(["lpips", model.weights.digest])

    def score(self, shot: Shot) -> Scores:
        found = self._model.distance(shot.film.frames_THWC[1:], shot.real.frames_THWC[1:])
        return Scores({"lpips": float(np.mean(found))}, {"lpips": found})


class Subject:
    """DINO: nearness to the real video, frame by frame, and VBench's subject consistency (arXiv:2311.17982, §3.2)."""

    names = ("dino_similarity", "subject_consistency")

    def __init__(self, seer: Seer) -> None:
        self._seer = seer
        self.digest = digest_json(["dino", seer.weights.digest])

    def score(self, shot: Shot) -> Scores:
        mine_TD, real_TD = (_features(self._seer, film) for film in (shot.film, shot.real))
        similar_t = (mine_TD[1:] * real_TD[1:]).sum(-1)
        values: dict[str, float | None] = {
            "dino_similarity": float(similar_t.mean()),
            "subject_consistency": consistency(mine_TD),
        }
        return Scores(values, {"dino_similarity": similar_t.tolist()})


class Background:
    """CLIP: VBench's background consistency."""

    names = ("background_consistency",)

    def __init__(self, seer: Seer) -> None:
        self._seer = seer
        self.digest = digest_json(["clip", seer.weights.digest])

    def score(self, shot: Shot) -> Scores:
        return Scores({"background_consistency": consistency(_features(self._seer, shot.film))})


def consistency(features_TD: np.ndarray) -> float:
    """The mean over frames 1..T-1 of the cosines to the first frame and to the one before, each counting a half."""
    first_t = (features_TD[1:] * features_TD[:1]).sum(-1)
    before_t = (features_TD[1:] * features_TD[:-1]).sum(-1)
    return float((first_t.clip(0) + before_t.clip(0)).mean() / 2)


def _features(seer: Seer, film: Film) -> np.ndarray:
    return film.once(seer, lambda film: seer.of_frames(film.frames_THWC))


def names_without(kinds: Sequence[str]) -> dict[str, str]:
    """The metrics of the kinds of weights that are not there, each with the reason."""
    of = {"lpips": Perceptual.names, "dino": Subject.names, "clip": Background.names}
    return {
        name: f"weights absent: --weights {kind}=FOLDER"
        for kind, names in of.items()
        if kind not in kinds
        for name in names
    }
