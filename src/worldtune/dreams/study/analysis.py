"""From the policies' results to success with intervals, differences between arms, and what dreams are worth.

Shapes: D draws, S policy seeds, R resets.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from worldtune.core.intervals.hierarchical_bootstrap import HierarchicalEstimate, estimate_difference, estimate_success
from worldtune.core.settings import StrictModel
from worldtune.dreams.study.policies import PolicyResult
from worldtune.dreams.study.settings import MORE_REAL, Arm, StudySettings

COMPARED: tuple[tuple[Arm, Arm], ...] = (
    ("lora", "real"), ("lora", "shuffled"), ("lora", "base"), ("lora", "oracle"), ("dora", "real"), ("dora", "lora"),
    ("filtered", "lora"), ("base", "real"), ("shuffled", "real"), ("codec-idm", "real"), ("video-idm", "real"),
    ("oracle", "real"), ("real", "real-once"), ("lora", "codec-idm"), ("codec-idm", "video-idm"),
    ("video-idm", "oracle"),
)  # fmt: skip
"""The arms whose difference is estimated. The last three, with LoRA - oracle, say which stage loses success."""


class Worth(StrictModel):
    """How many real demonstrations of a task reach the success with dreams.

    bound: "about" that many; "at most" that many, because the dreams add nothing to them; "more than" that many, which
    are the most that were tried.
    """

    demonstrations: float
    bound: Literal["about", "at most", "more than"]


@dataclass(frozen=True)
class TaskAnalysis:
    """The results of one task: success by arm, and differences by (arm, other arm).

    `by_policy` is the success of each policy (D, S). `worth` is None if no arm has more real demonstrations.
    """

    success: dict[Arm, HierarchicalEstimate]
    by_policy: dict[Arm, npt.NDArray[np.float64]]
    difference: dict[tuple[Arm, Arm], HierarchicalEstimate]
    worth: Worth | None


def success_array(results: Sequence[PolicyResult], arm: Arm) -> npt.NDArray[np.float64]:
    """Return the success (D, S, R) of an arm of one task. Raise ValueError if a policy is missing."""
    rows = {(result.draw, result.seed): result.success for result in results if result.arm == arm}
    draws, seeds = (sorted({key[axis] for key in rows}) for axis in (0, 1))
    if len(rows) != len(draws) * len(seeds):
        raise ValueError(f"{arm} has {len(rows)} policies for {len(draws)} draws and {len(seeds)} seeds")
    return np.array([[rows[draw, seed] for seed in seeds] for draw in draws], np.float64)


def analyze(settings: StudySettings, results: Sequence[PolicyResult]) -> TaskAnalysis:
    """Return the analysis of the results of one task."""
    arms = [arm for arm in settings.arms if any(result.arm == arm for result in results)]
    arrays = {arm: success_array(results, arm) for arm in arms}
    success = {arm: estimate_success(array) for arm, array in arrays.items()}
    difference = {
        pair: estimate_difference(arrays[pair[0]], arrays[pair[1]]) for pair in COMPARED if set(pair) <= arrays.keys()
    }
    by_policy = {arm: array.mean(2) for arm, array in arrays.items()}
    return TaskAnalysis(success, by_policy, difference, worth_in_demonstrations(settings, success))


def worth_in_demonstrations(settings: StudySettings, success: Mapping[Arm, HierarchicalEstimate]) -> Worth | None:
    """Return how many real demonstrations reach the success of real ones with dreams of the LoRA.

    Success is interpolated over the logarithm of their number. None if the arms with more demonstrations were not run.
    """
    count = settings.demonstrations
    known = [(count, success["real"].mean)] if "real" in success else []
    known += [(count * times, success[arm].mean) for arm, times in MORE_REAL.items() if arm in success]
    if len(known) < 2 or "lora" not in success:
        return None
    wanted = success["lora"].mean
    if wanted <= known[0][1]:
        return Worth(demonstrations=count, bound="at most")
    for (less, low), (more, high) in pairwise(known):
        if low < wanted <= high:
            share = (wanted - low) / (high - low)
            return Worth(demonstrations=less * math.pow(more / less, share), bound="about")
    return Worth(demonstrations=known[-1][0], bound="more than")
