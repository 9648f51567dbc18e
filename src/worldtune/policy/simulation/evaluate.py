"""Success of policies over fixed evaluation seeds, in closed loop in the simulator.

Shapes: P policies, R resets, H intervals of a chunk.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from worldtune.core.progress import Progress, silent
from worldtune.policy.protocol import Observation, Policy
from worldtune.policy.simulation.control import check_chunk, execute_row

if TYPE_CHECKING:
    from worldtune.sim.scene import Scene

INTERVALS = 26


@dataclass(frozen=True, eq=False)
class SuccessMatrix:
    """Success (P, R) of each policy from each reset, and the frame intervals that each episode took."""

    policies: tuple[str, ...]
    seeds: tuple[int, ...]
    success_PR: np.ndarray
    intervals_PR: np.ndarray


def evaluate_policies(
    policies: Mapping[str, Policy],
    scene: "Scene",
    seeds: Sequence[int],
    intervals: int = INTERVALS,
    progress: Progress = silent,
) -> SuccessMatrix:
    """Return the success of each policy from the layout of each seed, within `intervals` frame intervals.

    Raise DataError if a policy returns actions that the scene cannot execute.
    """
    success_PR = np.zeros((len(policies), len(seeds)), bool)
    intervals_PR = np.zeros((len(policies), len(seeds)), int)
    for reset, seed in enumerate(seeds):
        for number, (name, policy) in enumerate(policies.items()):
            success_PR[number, reset], intervals_PR[number, reset] = run_episode(scene, policy, seed, intervals, name)
        progress(reset + 1, len(seeds), f"{success_PR[:, : reset + 1].mean():.0%} success")
    return SuccessMatrix(tuple(policies), tuple(seeds), success_PR, intervals_PR)


def run_episode(scene: "Scene", policy: Policy, seed: int, intervals: int, name: str) -> tuple[bool, int]:
    """Run one episode until success or for `intervals`, and return its success and the intervals that it took."""
    seen = scene.reset(seed)
    first_HWC = seen.frame_HWC
    policy.reset()
    control, done = policy.control, 0
    while done < intervals and not seen.success:
        chunk_HA = policy.act(Observation(seen.frame_HWC, first_HWC, seen.state_S, scene.prompt))
        check_chunk(chunk_HA, control, name)
        targets_H3 = seen.state_S[:3] + np.cumsum(chunk_HA[:, :3], axis=0)
        for row_A, target_3 in zip(chunk_HA[: control.executed], targets_H3, strict=False):
            seen = execute_row(scene, row_A, control, target_3)
            done += 1
            if seen.success or done == intervals:
                break
    return seen.success, done
