"""The critic of a path: its steps, its jumps and its place, in units of real paths.

The path is that of the states, or of the commands if there are no states; both are what the IDM reads, from dreams and
from real clips alike.

Shape letters: N paths, T frames or intervals, S columns.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from worldtune.core.settings import StrictModel
from worldtune.dreams.critics.limits import Rule
from worldtune.dreams.idm.labels import Labels

Array = npt.NDArray[np.float32]
SMALLEST = 1e-6  # scale of a column that does not move
RULES = {
    "largest step": Rule(side="at most", least=1.0),
    "largest jump": Rule(side="at most", least=1.0),
    "path length": Rule(side="at least"),
    "outside the workspace": Rule(side="at most", least=0.1),
    "end outside the workspace": Rule(side="at most", least=0.1),
}


class PathScale(StrictModel):
    """The scale of real paths by column: large steps and jumps (changes of the step), and the workspace."""

    step: tuple[float, ...]
    jump: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    end_low: tuple[float, ...]
    end_high: tuple[float, ...]


def path_of(labels: Labels) -> Array:
    """Return the states (T, S), or without states the commands."""
    return labels.commands_ID if labels.states_TS is None else labels.states_TS


def fit_scale(paths: Sequence[Array]) -> PathScale:
    """Return the scale of real paths."""
    steps_NS = np.stack([np.abs(np.diff(path_TS, axis=0)).max(0) for path_TS in paths])
    jumps_NS = np.stack([np.abs(np.diff(path_TS, n=2, axis=0)).max(0) for path_TS in paths])
    ends_NS = np.stack([path_TS[-1] for path_TS in paths])
    return PathScale(
        step=_numbers(np.maximum(np.median(steps_NS, 0), SMALLEST)),
        jump=_numbers(np.maximum(np.median(jumps_NS, 0), SMALLEST)),
        low=_numbers(np.min([path_TS.min(0) for path_TS in paths], 0)),
        high=_numbers(np.max([path_TS.max(0) for path_TS in paths], 0)),
        end_low=_numbers(ends_NS.min(0)),
        end_high=_numbers(ends_NS.max(0)),
    )


def measure_path(path_TS: Array, scale: PathScale) -> dict[str, float]:
    """Return the measurements of a path, each in units of `scale`."""
    step_TS = np.abs(np.diff(path_TS, axis=0)) / np.array(scale.step)
    jump_TS = np.abs(np.diff(path_TS, n=2, axis=0)) / np.array(scale.jump)
    span_S = np.maximum(np.array(scale.high) - np.array(scale.low), SMALLEST)
    return {
        "largest step": float(step_TS.max()),
        "largest jump": float(jump_TS.max()),
        "path length": float(step_TS.mean(1).sum()),
        "outside the workspace": _outside(path_TS, scale.low, scale.high, span_S),
        "end outside the workspace": _outside(path_TS[-1:], scale.end_low, scale.end_high, span_S),
    }


def _outside(path_TS: Array, low: Sequence[float], high: Sequence[float], span_S: Array) -> float:
    """Return how far the path leaves the box, as a share of the workspace's span."""
    beyond_TS = np.maximum(np.array(low) - path_TS, path_TS - np.array(high)) / span_S
    return float(max(beyond_TS.max(), 0.0))


def _numbers(values_S: Array) -> tuple[float, ...]:
    return tuple(float(value) for value in values_S)
