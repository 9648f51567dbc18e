"""Recordings that show the same footage, under any name, cut or encoding.

Two demonstrations of a task before one camera look alike, but are not the same footage. Three signs identify a copy.
It agrees with the other recording over their whole overlap, not only for a moment. It differs by a codec's noise in
every cell of the image, even where something moves. And it is much more similar to the other recording than any third
recording is. States and actions add evidence: if they are equal, no third recording is needed; if they are not, the
images must agree almost exactly.

Shapes: n compared frames, C luma cells of a frame, L lags, S state and action dimensions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from worldtune.data.curation.recording import LUMA_CELLS, SEARCH_RATE, Recording
from worldtune.data.curation.recording_search import find_nearest

COMPARED_FRAMES, MAX_LAGS = 96, 3  # frames of two recordings to compare, and the number of lags to try
FIRST_COMPARISONS = 4  # recordings to compare each one with; more only if one of these may be a copy
MAX_BRIGHTNESS_OFFSET = 6.0  # luma levels by which a copy may be brighter as a whole
MAX_OF_MOTION = 0.3  # of the change of the liveliest cell: a copy's worst cell differs by less
MAX_OVER_REST, ROUNDING = 6.0, 0.5  # a copy differs by less than this many times its resting cells do, plus levels
MIN_GAP_FACTOR, MIN_GAP_FACTOR_UNEQUAL_ROWS = (
    3.0,
    4.0,
)  # other recordings differ by this many times what a copy does; the second if states and actions are unequal
DEFAULT_NEXT_DIFFERENCE = 9.0  # levels: how much other recordings are taken to differ if there is none
MAX_EQUAL_ROWS, MAX_EQUAL_ROWS_OF_MOTION = (
    3.0,
    0.5,
)  # levels, or share of the motion: the most that a copy with equal states and actions differs
MAX_ROW_DISTANCE = 0.002  # of their range: states and actions that differ by less are equal
NEAR_LIMIT_FACTOR = 2.0  # times the limit: up to here, another lag may still show a copy
MAX_STILL_DIFFERENCE = 0.3  # levels: recordings without motion are the same if no cell differs by more


@dataclass(frozen=True)
class Similarity:
    """How two recordings agree over all that they share.

    lag: seconds of the second minus those of the first. seconds: how much they share. difference: levels of 255, root
    mean square over time, of the cell that differs most. rest: the same for the half of the cells that move least.
    motion: the standard deviation of the cell that changes most. rows: share of their range by which states and
    actions differ, None if they cannot be compared.
    """

    lag: float
    seconds: float
    difference: float
    rest: float = 0.0
    motion: float = 0.0
    rows: float | None = None

    @property
    def rows_equal(self) -> bool:
        """Whether states and actions are equal."""
        return self.rows is not None and self.rows <= MAX_ROW_DISTANCE

    @property
    def limit(self) -> float:
        """The most that the images of a copy may differ, whatever the other recordings are like."""
        if self.motion < 1:
            return MAX_STILL_DIFFERENCE
        if self.rows_equal:
            return max(MAX_EQUAL_ROWS, MAX_EQUAL_ROWS_OF_MOTION * self.motion)
        return min(MAX_OF_MOTION * self.motion, MAX_OVER_REST * self.rest + ROUNDING)

    @property
    def within_limit(self) -> bool:
        """Whether the images differ no more than those of a copy may."""
        return self.difference <= self.limit


@dataclass(frozen=True)
class Pair:
    """Two recordings, by number, first < second, that share footage.

    next_difference: the difference of the most similar recording that is not a copy; infinite if there is none.
    """

    first: int
    second: int
    similarity: Similarity
    next_difference: float


def find_near_duplicates(recordings: Sequence[Recording], span: float) -> list[Pair]:
    """Return the pairs that share footage of at least `span` seconds, except pairs of one episode.

    Each recording is searched for in all others, which takes time with the square of their number, and compared with
    the nearest of them.
    """
    comparisons = _Comparisons(recordings, span)
    measured: dict[tuple[int, int], Similarity] = {}
    found: dict[tuple[int, int], Pair] = {}
    for number, candidates in enumerate(find_nearest(recordings, span)):
        others: dict[int, Similarity] = {}
        for rank, (other, lag) in enumerate(candidates):
            if rank == FIRST_COMPARISONS and not any(similarity.within_limit for similarity in others.values()):
                break
            key, forward = (min(number, other), max(number, other)), number < other
            if key not in measured:
                measured[key] = comparisons.of(*key, lag if forward else -lag)
            others[other] = measured[key]
        for other, next_difference in _find_copies(others):
            key = min(number, other), max(number, other)
            found[key] = Pair(*key, measured[key], next_difference)
    return [found[key] for key in sorted(found)]


class _Comparisons:
    """`measure_similarity` of recordings by number; identical recordings are compared once."""

    def __init__(self, recordings: Sequence[Recording], span: float) -> None:
        self._recordings, self._span = recordings, span
        self._known: dict[tuple[int, int, float], Similarity] = {}
        numbers: dict[tuple[bytes, ...], int] = {}
        self._alike = [numbers.setdefault(recording.content, len(numbers)) for recording in recordings]

    def of(self, first: int, second: int, lag: float) -> Similarity:
        key = self._alike[first], self._alike[second], lag
        if key not in self._known:
            self._known[key] = measure_similarity(self._recordings[first], self._recordings[second], lag, self._span)
        return self._known[key]


def _find_copies(others: dict[int, Similarity]) -> Iterator[tuple[int, float]]:
    """Yield the copies among `others`, the recordings that one was compared with, each with the next difference.

    Copies are the most similar recordings, up to a gap; with equal states and actions no gap is needed.
    """
    ranked = sorted(others.items(), key=lambda item: item[1].difference)
    differences = [similarity.difference for _, similarity in ranked] + [np.inf]
    gaps = [
        k
        for k, (_, similarity) in enumerate(ranked)
        if similarity.within_limit and _ends_the_copies(similarity, differences[k + 1])
    ]
    for rank, (other, similarity) in enumerate(ranked):
        if similarity.within_limit and (similarity.rows_equal or (gaps and rank <= gaps[-1])):
            yield other, differences[max(rank, gaps[-1] if gaps else 0) + 1]


def _ends_the_copies(similarity: Similarity, next_difference: float) -> bool:
    """Return whether the next recording, which differs by `next_difference`, is clearly a different one."""
    factor = MIN_GAP_FACTOR if similarity.rows is None or similarity.rows_equal else MIN_GAP_FACTOR_UNEQUAL_ROWS
    return (next_difference if np.isfinite(next_difference) else DEFAULT_NEXT_DIFFERENCE) >= factor * max(
        similarity.difference, ROUNDING
    )


def measure_similarity(one: Recording, other: Recording, lag: float, span: float) -> Similarity:
    """Return how the two agree if the second is about `lag` seconds later; the lag is refined to a frame.

    If they share less than `span` seconds, or less than the shorter recording, the difference is infinite.
    """
    step = 1 / max(one.fps, other.fps)
    reach, least = round(2 / SEARCH_RATE / step), max(min(span, one.seconds, other.seconds) - 2 * step, 0)
    near = [step * (round(lag / step) + k) for k in range(-reach, reach + 1)]
    lags = [candidate_lag for candidate_lag in near if np.subtract(*_overlap(one, other, candidate_lag)[::-1]) >= least]
    if not lags:
        return Similarity(lag, 0.0, np.inf)
    first, *others = np.array(lags)[np.argsort(_coarse_difference(one, other, lags), kind="stable")[:MAX_LAGS]].tolist()
    found = [_measure_at_lag(one, other, first)]
    if found[0].difference <= NEAR_LIMIT_FACTOR * found[0].limit:
        found += [_measure_at_lag(one, other, candidate_lag) for candidate_lag in others]
    return min(found, key=lambda similarity: (not similarity.rows_equal, similarity.difference))


def _measure_at_lag(one: Recording, other: Recording, lag: float) -> Similarity:
    a, b = _shared_frames(one, other, lag, COMPARED_FRAMES)
    A, B = one.thumbnails()[a].astype(np.float32), other.thumbnails()[b].astype(np.float32)
    E = A - B
    E[:, :LUMA_CELLS] -= np.clip(E[:, :LUMA_CELLS].mean(), -MAX_BRIGHTNESS_OFFSET, MAX_BRIGHTNESS_OFFSET)
    motion_C = np.minimum(A[:, :LUMA_CELLS].std(0), B[:, :LUMA_CELLS].std(0))
    rest = np.sqrt(np.square(E[:, :LUMA_CELLS][:, motion_C <= np.median(motion_C)]).mean())
    difference = np.sqrt(np.square(E).mean(0)).max()
    start, end = _overlap(one, other, lag)
    rows = _row_distance(one, other, a, b)
    return Similarity(lag, end - start, float(difference), float(rest), float(motion_C.max()), rows)


def _overlap(one: Recording, other: Recording, lag: float) -> tuple[float, float]:
    """Return the time range, in seconds of the first, in which both have frames."""
    return max(0.0, -lag), min(one.seconds, other.seconds - lag)


def _shared_frames(one: Recording, other: Recording, lag: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return frame numbers of both at the same times, evenly spread: the slower one's frames and the nearest ones."""
    start, end = _overlap(one, other, lag)
    slow, shift = (one, 0.0) if one.fps <= other.fps else (other, lag)
    seconds = slow.times - slow.times[0] - shift
    inside = seconds[(seconds >= start - 1e-6) & (seconds <= end + 1e-6)]
    if len(inside) > most:
        inside = inside[np.linspace(0, len(inside) - 1, most).round().astype(int)]
    return one.frames_at(inside), other.frames_at(inside + lag)


def _coarse_difference(one: Recording, other: Recording, lags: Sequence[float]) -> np.ndarray:
    """Return (L,): the variance of their difference at each lag, over the frames that they share at every lag."""
    slow, fast, shifts = (one, other, np.array(lags)) if one.fps <= other.fps else (other, one, -np.array(lags))
    start, end = max(0.0, -shifts.min()), min(slow.seconds, fast.seconds - shifts.max())
    seconds = slow.times - slow.times[0]
    inside = np.flatnonzero((seconds >= start - 1e-6) & (seconds <= end + 1e-6))
    if not len(inside):
        return np.zeros(len(lags))
    inside = inside[np.linspace(0, len(inside) - 1, COMPARED_FRAMES // 3).round().astype(int)]
    at_Ln = fast.frames_at(seconds[inside] + shifts[:, None])
    return np.asarray((slow.coarse_luma()[inside] - fast.coarse_luma()[at_Ln]).var((1, 2)))


def _row_distance(one: Recording, other: Recording, a: np.ndarray, b: np.ndarray) -> float | None:
    """Return the share of their range by which these frames' rows differ; at unlike rates, by the nearest of three."""
    if one.rows is None or other.rows is None or one.rows.shape[1] != other.rows.shape[1]:
        return None
    if not (np.isfinite(one.rows).all() and np.isfinite(other.rows).all()):
        return None
    near = (0,) if abs(one.fps / other.fps - 1) < 1e-3 else (-1, 0, 1)
    x = one.rows[a].astype(np.float64)
    ys = [other.rows[np.clip(b + step, 0, len(other.rows) - 1)].astype(np.float64) for step in near]
    distance_S = np.sqrt(np.min([np.square(x - y) for y in ys], axis=0).mean(0))
    range_S = np.maximum(np.ptp(x, axis=0), distance_S)
    moving = range_S > 0
    return float(np.sqrt(np.square(distance_S[moving] / range_S[moving]).mean())) if moving.any() else None
