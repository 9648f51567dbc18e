"""Search the recordings most like each recording at some moment, by anchors: a few images over one clip's length.

Shapes: F samples of some recordings one after the other, D dimensions of a sample, R recordings, A anchors,
P images of an anchor, W = P·D.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from worldtune.data.curation.recording import SEARCH_RATE, Recording

MAX_NEIGHBORS = 12  # recordings to find for each
IMAGES_PER_ANCHOR, DIMENSIONS = 5, 16
MIN_MOTION_LUMA = 0.5  # luma levels: an anchor with less motion is barely distinctive
BLOCK_SAMPLES = 1 << 13  # samples compared with anchors at once
MAX_TABLE_VALUES = 1 << 22  # values in a table of anchors by samples


def find_nearest(recordings: Sequence[Recording], span: float) -> Iterator[Iterator[tuple[int, float]]]:
    """Yield for each recording, in order, (number, lag) of those most like it within `span` seconds, nearest first.

    The lag is how much later the moment is in the other recording. Recordings of the same episode are excluded.
    """
    if not recordings:
        return
    samples = _Samples(recordings)
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, recording in enumerate(recordings):
        groups[samples.steps(number, min(span, recording.seconds))].append(number)
    neighbors: dict[int, Iterator[tuple[int, float]]] = {}
    for steps, numbers in groups.items():
        neighbors |= _search(samples, np.array(steps), numbers)
    yield from (neighbors[number] for number in range(len(recordings)))


class _Samples:
    """The samples of all recordings, one recording after the other."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self.sizes_R = np.array([len(recording.samples) for recording in recordings])
        self.begin_R = np.r_[0, np.cumsum(self.sizes_R)[:-1]]
        self.samples_FD = _project(np.concatenate([recording.samples for recording in recordings]))
        self.episode_R = np.unique([recording.episode for recording in recordings], return_inverse=True)[1]

    def steps(self, number: int, seconds: float) -> tuple[int, ...]:
        """Return an anchor's images over that many seconds, as sample offsets from its first."""
        steps_P = np.round(np.linspace(0, seconds * SEARCH_RATE, IMAGES_PER_ANCHOR)).astype(int)
        return tuple(np.minimum(steps_P, self.sizes_R[number] - 1).tolist())

    def starts(self, number: int, steps_P: np.ndarray) -> np.ndarray:
        """Return (A,): the first samples of a recording's anchors."""
        return np.arange(0, self.sizes_R[number] - steps_P[-1], max(int(steps_P[-1]), 1)) + self.begin_R[number]

    def windows(self, first_A: np.ndarray, steps_P: np.ndarray) -> np.ndarray:
        """Return (A, W): the images from these samples on, side by side."""
        at_AP = np.minimum(first_A[:, None] + steps_P, len(self.samples_FD) - 1)
        return self.samples_FD[at_AP].reshape(len(first_A), -1)

    def blocks(self) -> Iterator[slice]:
        """Yield slices of consecutive recordings with about `BLOCK_SAMPLES` samples together."""
        first = 0
        while first < len(self.sizes_R):
            most = self.begin_R[first] + BLOCK_SAMPLES
            last = max(int(np.searchsorted(self.begin_R + self.sizes_R, most, side="right")), first + 1)
            yield slice(first, last)
            first = last


def _search(samples: _Samples, steps_P: np.ndarray, numbers: Sequence[int]) -> dict[int, Iterator[tuple[int, float]]]:
    """Return the nearest recordings of each of `numbers`, whose anchors all have the same steps."""
    starts = [samples.starts(number, steps_P) for number in numbers]
    owner_A, start_A = np.repeat(numbers, [len(anchors) for anchors in starts]), np.concatenate(starts)
    candidates: dict[int, list[tuple[float, int, int]]] = defaultdict(list)
    most = max(MAX_TABLE_VALUES // max(BLOCK_SAMPLES, int(samples.sizes_R.max())), 1)
    for first in range(0, len(start_A), most):
        owners, begins = owner_A[first : first + most], start_A[first : first + most]
        dissimilarity_AR = _dissimilarity(samples, begins, steps_P)
        for number in np.unique(owners).tolist():
            owned = np.flatnonzero(owners == number)
            best_R = np.where(samples.episode_R == samples.episode_R[number], np.inf, dissimilarity_AR[owned].min(0))
            for other in np.argsort(best_R, kind="stable")[:MAX_NEIGHBORS].tolist():
                anchor = int(begins[owned[dissimilarity_AR[owned, other].argmin()]])
                candidates[number].append((float(best_R[other]), other, anchor))
    return {number: _rank_candidates(samples, candidates[number], steps_P, number) for number in numbers}


def _dissimilarity(samples: _Samples, first_A: np.ndarray, steps_P: np.ndarray) -> np.ndarray:
    """Return float32 (A, R): the dissimilarity of each anchor and the moment of each recording most like it."""
    anchors_AW = samples.windows(first_A, steps_P)
    dissimilarity_AR = np.empty((len(anchors_AW), len(samples.sizes_R)), np.float32)
    for block in samples.blocks():
        begin_R, sizes_R = samples.begin_R[block], samples.sizes_R[block]
        first_F = np.arange(begin_R[0], begin_R[-1] + sizes_R[-1])
        distance_AF = _squared_distances(samples, anchors_AW, first_F, steps_P)
        distance_AF[:, first_F + steps_P[-1] >= np.repeat(begin_R + sizes_R, sizes_R)] = np.inf
        dissimilarity_AR[:, block] = np.minimum.reduceat(distance_AF, begin_R - begin_R[0], axis=1)
    images_APD = anchors_AW.reshape(len(anchors_AW), IMAGES_PER_ANCHOR, -1)
    within_A = np.square(images_APD - images_APD.mean(1, keepdims=True)).sum((1, 2))
    return dissimilarity_AR / (within_A + IMAGES_PER_ANCHOR * 64 * MIN_MOTION_LUMA**2)[:, None]


def _squared_distances(
    samples: _Samples, anchors_AW: np.ndarray, first_F: np.ndarray, steps_P: np.ndarray
) -> np.ndarray:
    """Return (A, F): squared distances between the anchors and the images that start at these samples."""
    windows_FW = samples.windows(first_F, steps_P)
    distance_AF = anchors_AW @ windows_FW.T
    distance_AF *= -2
    distance_AF += np.square(windows_FW).sum(1)
    distance_AF += np.square(anchors_AW).sum(1)[:, None]
    return distance_AF


def _rank_candidates(
    samples: _Samples, candidates: Sequence[tuple[float, int, int]], steps_P: np.ndarray, number: int
) -> Iterator[tuple[int, float]]:
    """Yield the nearest of (dissimilarity, recording, anchor's first sample), each recording once, with its lag."""
    yielded: set[int] = set()
    for dissimilarity, other, anchor in sorted(candidates):
        if np.isfinite(dissimilarity) and other not in yielded and len(yielded) < MAX_NEIGHBORS:
            yielded.add(other)
            first_F = samples.begin_R[other] + np.arange(samples.sizes_R[other] - steps_P[-1])
            at = int(
                _squared_distances(samples, samples.windows(np.array([anchor]), steps_P), first_F, steps_P).argmin()
            )
            yield other, (at - (anchor - int(samples.begin_R[number]))) / SEARCH_RATE


def _project(samples_FP: np.ndarray) -> np.ndarray:
    """Return float32 (F, D): samples without mean brightness, along the directions of largest variance."""
    centered = samples_FP.astype(np.float32)
    centered -= centered.mean(1, keepdims=True)  # a copy may be brighter as a whole
    centered -= centered.mean(0)
    _, axes = np.linalg.eigh(centered.T @ centered)
    return np.asarray(centered @ axes[:, -DIMENSIONS:], np.float32)
