"""What a robot's clips should not be: static, black, frozen, blurred, twice there, wild in their actions.

What is blurred or a wild action is judged against the quantiles of the dataset's own clips, sharpness camera by camera;
what is black or does not move, by bounds that hold for any camera. A fixed camera's picture hardly changes as a whole,
so that what moves is looked for patch by patch.

Shapes: T frames, P×P patches, S×S thumbnail, A action dimensions.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from worldtune.episodes.looks import Looks
from worldtune.strict import Strict

SAME = 2.0  # luma levels of 255: two frames are alike if no cell of their thumbnails differs by more
BEFORE = 4  # frames, between the two that are compared to see whether anything moves
BLACK = 12.0  # luma of 255
ACTS = 0.05  # of a dimension's range over the dataset: what changes less rests
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
    """What a clip is judged by.

    motion: the fastest tenth of its steps begins here, in luma levels of the patch that moves most. still: the share
    of its frames that are like the one four before. spread: the most that any cell of the thumbnails changes over the
    clip. tail: the share of its frames, at its end, that are like its last. In a clip of one frame nothing can move:
    its spread is infinite, its tail 0. thumbs (9, 16, 16) of frames spread evenly over the clip.
    """

    camera: str
    motion: float
    still: float
    spread: float
    tail: float
    sharpness: float
    brightness: float
    thumbs: np.ndarray
    actions: np.ndarray | None
    states: np.ndarray | None


def see(
    camera: str, looks: Looks, picks: Sequence[int], actions: np.ndarray | None, states: np.ndarray | None
) -> Sight:
    """The sight of the clip of these frames; actions and states are the recording's."""
    its = np.unique(picks)
    thumbs_TSS = looks.thumbs[its].astype(np.int16)
    steps_T = looks.motion[its[0] + 1 : its[-1] + 1].max((1, 2)).astype(np.float32)
    sampled = np.asarray(picks)[np.linspace(0, len(picks) - 1, SAMPLED).round().astype(int)]
    return Sight(
        camera=camera,
        motion=float(np.sort(steps_T)[round(0.9 * (len(steps_T) - 1))]) if len(steps_T) else 0.0,
        still=float(alike(thumbs_TSS[BEFORE:], thumbs_TSS[:-BEFORE]).mean()) if len(its) > BEFORE else 0.0,
        spread=float(np.ptp(thumbs_TSS, axis=0).max()) if len(picks) > 1 else np.inf,
        tail=1 - (_last(~alike(thumbs_TSS, thumbs_TSS[-1])) + 1) / len(its) if len(picks) > 1 else 0.0,
        sharpness=median(looks.sharpness[its].tolist()),
        brightness=median(looks.brightness[its].tolist()),
        thumbs=looks.thumbs[sampled],
        actions=None if actions is None else actions[list(picks)],
        states=None if states is None else states[list(picks)],
    )


def alike(thumbs_TSS: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(T,): does no cell differ by more than a few luma levels? The mean of a cell hides the noise of its pixels."""
    return np.asarray(np.abs(thumbs_TSS.astype(np.int16) - others.astype(np.int16)).max((1, 2)) <= SAME)


def moving_part(looks: Looks) -> tuple[int, int]:
    """(first frame, count of frames) from the last one like the first to the first like the last; all if all are."""
    begun = np.flatnonzero(~alike(looks.thumbs, looks.thumbs[0]))
    goes_on = np.flatnonzero(~alike(looks.thumbs, looks.thumbs[-1]))
    if not len(begun) or not len(goes_on):
        return 0, len(looks.thumbs)
    start, end = max(int(begun[0]) - 1, 0), min(int(goes_on[-1]) + 1, len(looks.thumbs) - 1)
    return (start, end - start + 1) if start < end else (0, len(looks.thumbs))


def judge(curate: Curate, sights: Sequence[Sight]) -> list[str]:
    """For each clip why it should not be used, or ""."""
    blurred = blur_limits(sights) if curate.blurred else {}
    spread = action_limits(sights) if curate.outliers else None
    reach = _reach(sights)
    return [
        next(filter(None, _faults(curate, sight, blurred.get(sight.camera, 0.0), spread, reach)), "")
        for sight in sights
    ]


def _faults(
    curate: Curate, sight: Sight, sharp_enough: float, spread: "Limits | None", reach: dict[int, np.ndarray]
) -> Iterable[str]:
    if curate.black and sight.brightness < BLACK:
        yield f"black (brightness {sight.brightness:.0f} of 255)"
    if sight.spread <= SAME:
        if curate.frozen and _acts(sight, reach):
            yield "frozen camera (actions go on, the picture does not)"
        if curate.static:
            yield "static (nothing moves)"
    elif curate.frozen and sight.tail > 0.5 and _acts(sight, reach, sight.tail):
        yield f"frozen tail (the last {sight.tail:.0%} of it are alike)"
    if sight.sharpness < sharp_enough:
        yield f"blurred (sharpness {sight.sharpness:.0f}, this camera's limit is {sharp_enough:.0f})"
    for name, array_TA in (("action", sight.actions), ("state", sight.states)):
        if array_TA is not None and not np.isfinite(array_TA).all():
            yield f"{name}s that are not finite"
    if spread is not None and sight.actions is not None and (which := spread.beyond(sight.actions)) is not None:
        step, dimension = which
        yield f"action outlier (dimension {dimension} is {sight.actions[step, dimension]:.3g} at frame {step})"


def _signal(sight: Sight) -> np.ndarray | None:
    """(T, A): the states, or where there are none the actions."""
    return sight.states if sight.states is not None else sight.actions


def _reach(sights: Sequence[Sight]) -> dict[int, np.ndarray]:
    """(A,): how far each dimension of the signal goes over all clips, by A."""
    ends: dict[int, list[np.ndarray]] = defaultdict(list)
    for sight in sights:
        signal_TA = _signal(sight)
        if signal_TA is not None and np.isfinite(signal_TA).all():
            ends[signal_TA.shape[1]] += [signal_TA.min(0), signal_TA.max(0)]
    return {dimensions: np.ptp(both, axis=0) for dimensions, both in ends.items()}


def _acts(sight: Sight, reach: dict[int, np.ndarray], tail: float = 1.0) -> bool:
    """Does the signal change in that share of the clip, at its end, by more than a sensor's noise?

    Of a part of the clip that is not known: a robot that rests is no fault, a camera that stopped is.
    """
    signal_TA = _signal(sight)
    if signal_TA is None:
        return tail < 1
    change_A = np.ptp(signal_TA[-max(1, round(tail * len(signal_TA))) :], axis=0)
    return bool((change_A > ACTS * reach.get(len(change_A), np.zeros(len(change_A)))).any())


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
    """The range that nine of ten clips keep to, and three times it on either side; None where there are few clips.

    What many clips do is no outlier, however short it is in each: a gripper's impulse, a mark at the end. Where that
    range is a single value, nothing says how far from it is far, and every value will do.
    """
    arrays = [sight.actions for sight in sights if sight.actions is not None and np.isfinite(sight.actions).all()]
    if len(arrays) < ENOUGH or len({array.shape[1] for array in arrays}) > 1:
        return None
    low = np.quantile([array.min(0) for array in arrays], 0.1, axis=0, method="lower")
    high = np.quantile([array.max(0) for array in arrays], 0.9, axis=0, method="higher")
    margin = np.where(high > low, 3 * (high - low), np.inf)
    return Limits(low - margin, high + margin)
