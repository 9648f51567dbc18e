"""Scores by a judge: ratings of physics and of following the instruction, and the share of anomalies it sees."""

import numpy as np

from worldtune.evaluation.judging.judge import Judge, JudgedVideo
from worldtune.evaluation.judging.questions import ANOMALIES, INSTRUCTION, PHYSICS, JudgeQuestion
from worldtune.evaluation.scores import Scores
from worldtune.evaluation.scoring.pixel_metrics import VideoPair


class JudgeScorer:
    """The judge's scores as metrics. They are not in the score cache (empty digest): the judge caches its answers."""

    names = ("judge_physics", "judge_instruction", "judge_anomalies")
    digest = ""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def score(self, pair: VideoPair) -> Scores:
        """Return the mean of the numeric answers of each metric; None without numeric answers."""
        answers = [self._ask(question, pair) for question in ANOMALIES]
        # If an answer is missing there is no score: the same questions must count for every video.
        anomalies = [value for values in answers for value in values] if all(answers) else []
        values = [self._ask(PHYSICS, pair), self._ask(INSTRUCTION, pair), anomalies]
        return Scores({name: _mean(values) for name, values in zip(self.names, values, strict=True)})

    def _ask(self, question: JudgeQuestion, pair: VideoPair) -> list[float]:
        return self._judge.ask(question, JudgedVideo(pair.candidate, pair.case.name, pair.case.prompt, pair.features))


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
