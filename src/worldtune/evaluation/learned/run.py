"""What the weights that a user has allow: metrics of each video, and distances between sets of videos."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from worldtune.evaluation.case import Candidates, Case, Frames
from worldtune.evaluation.learned.frechet import Distance, Features, enough, measure
from worldtune.evaluation.learned.lpips import Lpips
from worldtune.evaluation.learned.scorers import Background, Perceptual, Subject
from worldtune.evaluation.learned.weights import Seer, Weights
from worldtune.evaluation.scoring import Scorer

FRAMES = 8  # of a clip, whose features make the set of pictures
SETS = {"videomae": "FVD (VideoMAE)", "dino": "FD of frames (DINOv2)"}
"""The Fréchet distances by the kind of weights (arXiv:2404.12391, arXiv:2306.04675)."""


class Learned:
    """The models of some weights, opened once. Raises UserError when one cannot be loaded."""

    def __init__(self, weights: Mapping[str, Weights], device: str) -> None:
        self.weights = weights
        self._seers = {kind: Seer(its, device) for kind, its in weights.items() if kind != "lpips"}
        self.scorers: list[Scorer] = []
        if "lpips" in weights:
            self.scorers.append(Perceptual(Lpips(weights["lpips"], device)))
        if "dino" in self._seers:
            self.scorers.append(Subject(self._seers["dino"]))
        if "clip" in self._seers:
            self.scorers.append(Background(self._seers["clip"]))

    def distances(self, cases: Sequence[Case], candidates: Candidates) -> list[Distance]:
        """Of every candidate's first videos of the cases to the real ones, for each kind of weights that gives one."""
        found = []
        for kind, metric in SETS.items():
            seer = self._seers.get(kind)
            if seer is None:
                continue
            look = _video(seer) if kind == "videomae" else _frames(seer)
            episodes = [case.episode for case in cases]
            judged = cases if enough(episodes) else []  # of too few nothing is looked at
            real = [look(case.reference.read()) for case in judged]
            for name, clips in candidates.items():
                made = [look(clips[case.name][0].read()) for case in judged]
                found.append(measure(metric, name, seer.weights.digest, made, real, episodes))
        return found


def absent(kinds: Sequence[str]) -> dict[str, str]:
    """The distances that are not measured, each with the reason."""
    return {name: f"weights absent: --weights {kind}=FOLDER" for kind, name in SETS.items() if kind not in kinds}


def _video(seer: Seer) -> Callable[[Frames], Features]:
    return lambda frames_THWC: seer.of_video(frames_THWC)[None].astype(np.float64)


def _frames(seer: Seer) -> Callable[[Frames], Features]:
    def look(frames_THWC: Frames) -> Features:
        picks = np.linspace(1, len(frames_THWC) - 1, FRAMES).round().astype(int)
        return seer.of_frames(frames_THWC[picks]).astype(np.float64)

    return look
