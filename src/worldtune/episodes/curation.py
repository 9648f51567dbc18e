"""What a robot's clips should not be: static, black, frozen, blurred, twice there, wild in their actions.

Every threshold is a camera's own, from the quantiles of its clips, between bounds that hold for any camera. A fixed
camera's picture hardly changes as a whole, so that what moves is looked for patch by patch.

Shapes: T frames, P×P patches, S×S thumbnail, A action dimensions.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from worldtune.episodes.looks import Looks
from worldtune.strict import Strict

STILL, STILL_MOST = 0.5, 2.0  # luma levels of 255: a patch that changes less between two frames does not move
BLACK = 12.0  # luma of 255
SAMPLED = 9  # thumbnails that a clip is recognised by
ENOUGH = 20  # clips of a camera, before its quantiles say anything


class Curate(Strict):
    """Which of them are looked for. trim: leave out what comes before the first and after the last motion."""

    static: bool = True
    black: bool = True
    frozen: bool = True
    blurred: bool = True
    duplicates: bool = True
    outliers: bool = True
    trim: bool = False


@dataclass(frozen=True, eq=False)
class Sight:
    """What a clip is judged by. moving (T − 1,): the most that any patch changed at each step. noise: what the
    recording's patches change where nothing moves. thumbs (9, 16, 16) of frames spread evenly over the clip.
    """

    camera: str
    moving: np.ndarray
    noise: float
    sharpness: float
    brightness: float
    thumbs: np.ndarray
    actions: np.ndarray | None
    states: np.ndarray | None

    @property
    def motion(self) -> float:
        """The clip's fastest tenth of steps begins here, in luma levels."""
        return float(np.quantile(self.moving, 0.9)) if len(self.moving) else 0.0

    @property
    def at_rest(self) -> np.ndarray:
        """At which steps nothing moves (T − 1,)."""
        return np.asarray(self.moving <= still_level(self.noise))

    @property
    def still(self) -> float:
        """The share of the steps at which nothing moves."""
        return float(self.at_rest.mean()) if len(self.moving) else 1.0


def see(
    camera: str, looks: Looks, picks: Sequence[int], actions: np.ndarray | None, states: np.ndarray | None
) -> Sight:
    """The sight of the clip of these frames; actions and states are the recording's."""
    its = np.unique(picks)
    steps = looks.motion[its[0] + 1 : its[-1] + 1].astype(np.float32)
    sampled = np.asarray(picks)[np.linspace(0, len(picks) - 1, SAMPLED).round().astype(int)]
    return Sight(
        camera=camera,
        moving=steps.max((1, 2)) if len(steps) else np.zeros(0, np.float32),
        noise=noise_of(looks),
        sharpness=float(np.median(looks.sharpness[its])),
        brightness=float(np.median(looks.thumbs[its].mean((1, 2)))),
        thumbs=looks.thumbs[sampled],
        actions=None if actions is None else actions[list(picks)],
        states=None if states is None else states[list(picks)],
    )


def noise_of(looks: Looks) -> float:
    """What the quietest fifth of patches changes from frame to frame, in luma levels."""
    return float(np.quantile(looks.motion[1:].astype(np.float32), 0.2)) if len(looks.motion) > 1 else 0.0


def still_level(noise: float) -> float:
    """Up to which change a patch does not move, in luma levels."""
    return min(max(STILL, 4 * noise), STILL_MOST)


def moving_part(looks: Looks) -> tuple[int, int]:
    """(first frame, count of frames) from just before anything moves to just after; all frames if nothing does."""
    moves = np.flatnonzero(looks.motion[1:].max((1, 2)) > still_level(noise_of(looks)))
    if not len(moves):
        return 0, len(looks.motion)
    return int(moves[0]), int(moves[-1] + 2 - moves[0])


def judge(curate: Curate, sights: Sequence[Sight]) -> list[str]:
    """For each clip why it should not be used, or ""."""
    blurred = blur_limits(sights) if curate.blurred else {}
    spread = action_limits(sights) if curate.outliers else None
    return [next(filter(None, _faults(curate, sight, blurred.get(sight.camera, 0.0), spread)), "") for sight in sights]


def _faults(curate: Curate, sight: Sight, sharp_enough: float, spread: "Limits | None") -> Iterable[str]:
    if curate.black and sight.brightness < BLACK:
        yield f"black (brightness {sight.brightness:.0f} of 255)"
    if len(sight.moving) and sight.at_rest.all():
        if curate.frozen and _acts(sight):
            yield "frozen camera (actions go on, the picture does not)"
        if curate.static:
            yield "static (nothing moves)"
    tail = len(sight.moving) - _last(~sight.at_rest) - 1
    if curate.frozen and 2 * tail > len(sight.moving) and not sight.at_rest.all() and not sight.moving[-tail:].any():
        yield f"frozen tail (the last {tail} of {len(sight.moving) + 1} frames are alike)"
    if sight.sharpness < sharp_enough:
        yield f"blurred (sharpness {sight.sharpness:.0f}, this camera's limit is {sharp_enough:.0f})"
    for name, array_TA in (("action", sight.actions), ("state", sight.states)):
        if array_TA is not None and not np.isfinite(array_TA).all():
            yield f"{name}s that are not finite"
    if spread is not None and sight.actions is not None and (which := spread.beyond(sight.actions)) is not None:
        step, dimension = which
        yield f"action outlier (dimension {dimension} is {sight.actions[step, dimension]:.3g} at frame {step})"


def _acts(sight: Sight) -> bool:
    """Do the states change, or where there are none the actions?"""
    signal_TA = sight.states if sight.states is not None else sight.actions
    return signal_TA is not None and bool(np.ptp(signal_TA, axis=0).max(initial=0) > 1e-3)


def _last(which: np.ndarray) -> int:
    found = np.flatnonzero(which)
    return int(found[-1]) if len(found) else -1


def blur_limits(sights: Iterable[Sight]) -> dict[str, float]:
    """For each camera how sharp a clip must be: as far below its median as three times its lower tenth, at most half.

    A camera with few clips has no limit.
    """
    by_camera: dict[str, list[float]] = defaultdict(list)
    for sight in sights:
        by_camera[sight.camera].append(sight.sharpness)
    limits = {}
    for camera, values in by_camera.items():
        if len(values) >= ENOUGH:
            low, middle = np.quantile(values, [0.1, 0.5])
            limits[camera] = float(middle * min(0.5, (low / middle) ** 3)) if middle > 0 else 0.0
    return limits


@dataclass(frozen=True, eq=False)
class Limits:
    """Of each action dimension the range (A,) beyond which a value is an outlier."""

    low: np.ndarray
    high: np.ndarray

    def beyond(self, actions_TA: np.ndarray) -> tuple[int, int] | None:
        """(frame, dimension) of the first outlier."""
        if actions_TA.shape[1] != len(self.low):
            return None
        found = np.argwhere((actions_TA < self.low) | (actions_TA > self.high))
        return (int(found[0][0]), int(found[0][1])) if len(found) else None


def action_limits(sights: Iterable[Sight]) -> Limits | None:
    """The middle 98 % of the values and three times their range on either side; None where there are few clips."""
    arrays = [sight.actions for sight in sights if sight.actions is not None and np.isfinite(sight.actions).all()]
    if len(arrays) < ENOUGH or len({array.shape[1] for array in arrays}) > 1:
        return None
    low, high = np.quantile(np.concatenate(arrays), [0.01, 0.99], axis=0)
    return Limits(low - 3 * (high - low) - 1e-6, high + 3 * (high - low) + 1e-6)
