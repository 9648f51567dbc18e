"""Whether a task can show an effect: its oracle must succeed far more often than real demonstrations alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from worldtune.dreams.study.policies import PolicyResult
from worldtune.dreams.study.settings import StudySettings

MIN_REPLAY = 0.8
"""The success of replayed true labels below which a task is not testable: even perfect labels do not solve it."""


@dataclass(frozen=True)
class Room:
    """The bounds of a task. `reason` says why it is not tested; "" if it is."""

    real: float
    oracle: float
    replay: float
    reason: str

    @property
    def is_tested(self) -> bool:
        return not self.reason


def find_room(settings: StudySettings, task: str, bounds: Sequence[PolicyResult], replay: Mapping[str, float]) -> Room:
    """Return the bounds of a task from the policies of the real and the oracle arm, and from the replay."""
    real, oracle = (
        float(np.mean([result.success for result in bounds if (result.task, result.arm) == (task, arm)]))
        for arm in ("real", "oracle")
    )
    return Room(real, oracle, replay["true"], _reason(settings, real, oracle, replay["true"]))


def _reason(settings: StudySettings, real: float, oracle: float, replay: float) -> str:
    if replay < MIN_REPLAY and settings.min_room > 0:
        return f"not testable: replayed true labels succeed in only {replay:.0%}"
    if oracle - real < settings.min_room:
        return f"no room: real demonstrations reach {real:.0%}, true clips {oracle:.0%}"
    return ""
