"""What a judge says of a video: marks for physics and for following the instruction, anomalies that it sees."""

import numpy as np

from worldtune.evaluation.comparison import Scores
from worldtune.evaluation.judging.judge import Judge, Shown
from worldtune.evaluation.judging.questions import ANOMALIES, INSTRUCTION, PHYSICS, Asked
from worldtune.evaluation.scoring import Shot


class Judged:
    """Keeps nothing itself, as the judge keeps its answers."""

    names = ("judge_physics", "judge_instruction", "judge_anomalies")
    digest = ""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def score(self, shot: Shot) -> Scores:
        """Means of the answers that are numbers; None where there is none."""
        each = [self._ask(asked, shot) for asked in ANOMALIES]
        anomalies = [value for its in each for value in its] if all(each) else []  # the same questions of every video
        values = [self._ask(PHYSICS, shot), self._ask(INSTRUCTION, shot), anomalies]
        return Scores({name: _mean(its) for name, its in zip(self.names, values, strict=True)})

    def _ask(self, asked: Asked, shot: Shot) -> list[float]:
        return self._judge.ask(asked, Shown(shot.candidate, shot.case.name, shot.case.prompt, shot.film))


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
