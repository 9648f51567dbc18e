"""Footage that a dataset contains twice: duplicates to drop, and leaks from training to the held-out set.

`data.not_copies` is a person's decision that two episodes are different demonstrations.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from worldtune.data.candidates import Candidate
from worldtune.data.clip import Clip
from worldtune.data.curation.duplicate_cache import cached_near_duplicates
from worldtune.data.curation.near_duplicates import Pair
from worldtune.data.curation.recording import Recording
from worldtune.data.spec import DataSpec
from worldtune.data.splits.split import TRAIN
from worldtune.errors import DataError, did_you_mean

SHOWN_MOMENTS = 6  # of a pair that a page shows
LEAK, DUPLICATE, CONFIRMED_DIFFERENT, ONE_SIDE = (
    "leak",
    "duplicate dropped",
    "confirmed different",
    "on one side of the split",
)


@dataclass(frozen=True)
class SameFootage:
    """Two recordings, each named EPISODE/CAMERA, that show the same footage, and the outcome.

    difference, lag and seconds are those of `near_duplicates.Similarity`. next_difference: the difference of the most
    similar recording that is not a copy, None if there is none. rows: whether states and actions are "equal" or
    "different", "" if they cannot be compared. moments: numbers of frames of both that show the same. episodes: the
    pair as `data.not_copies` names it. Of a leak, `first` is held out.
    """

    first: str
    second: str
    difference: float
    next_difference: float | None
    rows: str
    lag: float
    seconds: float
    moments: tuple[tuple[int, int], ...]
    episodes: tuple[str, str]
    outcome: str = ONE_SIDE

    @property
    def description(self) -> str:
        """How alike they are, in words."""
        next_text = (
            f", the most similar other recording by {self.next_difference:.1f}"
            if self.next_difference is not None
            else ""
        )
        rows = f"; states and actions are {self.rows}" if self.rows else ""
        return f"differ by {self.difference:.1f} of 255{next_text}{rows}"


def find_same_footage(candidates: Sequence[Candidate], spec: DataSpec) -> list[SameFootage]:
    """Return the pairs of recordings with usable clips that show the same footage.

    Raise DataError if `data.not_copies` names an episode that does not exist.
    """
    _check_not_copies(candidates, spec)
    if not (spec.holds_out or spec.curate.duplicates):
        return []
    recordings = list(
        {id(r): r for candidate in candidates if candidate.clip is not None and (r := candidate.recording)}.values()
    )
    pairs = cached_near_duplicates(recordings, (spec.frames - 1) / spec.fps)
    return [_describe_pair(recordings[pair.first], recordings[pair.second], pair, spec) for pair in pairs]


def _describe_pair(first: Recording, second: Recording, pair: Pair, spec: DataSpec) -> SameFootage:
    similarity = pair.similarity
    start = max(0.0, -similarity.lag)
    seconds = np.linspace(start, start + similarity.seconds, SHOWN_MOMENTS)
    moments = zip(first.frames_at(seconds).tolist(), second.frames_at(seconds + similarity.lag).tolist(), strict=True)
    one, other = sorted((first.episode, second.episode))
    return SameFootage(
        first.name,
        second.name,
        similarity.difference,
        pair.next_difference if np.isfinite(pair.next_difference) else None,
        "" if similarity.rows is None else "equal" if similarity.rows_equal else "different",
        similarity.lag,
        similarity.seconds,
        tuple(moments),
        (one, other),
        CONFIRMED_DIFFERENT if (one, other) in spec.not_copies else ONE_SIDE,
    )


def drop_duplicates(
    candidates: list[Candidate], pairs: Sequence[SameFootage], spec: DataSpec
) -> tuple[list[Candidate], list[SameFootage]]:
    """Reject clips of a pair's second recording that show the first's clips at the same times, with equal actions."""
    if not spec.curate.duplicates:
        return candidates, list(pairs)
    numbers, marked = _by_recording(candidates), []
    for pair in pairs:
        outcome = pair.outcome
        for i, j in _clip_pairs(pair, numbers):
            (one, clip), (other, second) = ((candidates[n], candidates[n].clip) for n in (i, j))
            if clip and second and _same_window(one, other, pair.lag) and same_actions(clip, second):
                candidates[j], outcome = other.reject(f"duplicate (of {clip.name})"), DUPLICATE
        marked.append(replace(pair, outcome=outcome))
    return candidates, marked


def mark_leaks(candidates: Sequence[Candidate], pairs: Sequence[SameFootage]) -> list[SameFootage]:
    """Return the pairs; a pair is a leak if a held-out clip and a training clip of it share a moment."""
    numbers, marked = _by_recording(candidates), []
    for pair in pairs:
        for i, j in _clip_pairs(pair, numbers):
            one, other = candidates[i], candidates[j]
            trained = one.row.split == TRAIN
            if trained != (other.row.split == TRAIN) and _overlap(one, other, pair.lag):
                pair = replace(pair, outcome=LEAK)
                pair = _swap(pair) if trained else pair
                break
        marked.append(pair)
    return marked


def _swap(pair: SameFootage) -> SameFootage:
    moments = tuple((second, first) for first, second in pair.moments)
    return replace(pair, first=pair.second, second=pair.first, lag=-pair.lag, moments=moments)


def annotate_same_footage(candidates: Sequence[Candidate], pairs: Sequence[SameFootage]) -> list[Candidate]:
    """Return the candidates; each row names the recordings that show the same footage, and the outcome of the pair."""
    texts_by_recording: dict[str, list[str]] = {}
    for pair in pairs:
        for name, other in ((pair.first, pair.second), (pair.second, pair.first)):
            texts_by_recording.setdefault(name, []).append(f"{other} ({pair.outcome})")
    texts = [
        "; ".join(texts_by_recording.get(f"{candidate.row.episode}/{candidate.row.camera}", []))
        for candidate in candidates
    ]
    return [
        replace(candidate, row=replace(candidate.row, same_footage=text))
        for candidate, text in zip(candidates, texts, strict=True)
    ]


def same_actions(one: Clip, other: Clip) -> bool:
    """Return whether the actions are the same to a thousandth of their range, or neither clip has actions."""
    if one.actions is None or other.actions is None:
        return one.actions is other.actions
    if one.actions.shape != other.actions.shape:
        return False
    return bool(np.abs(one.actions - other.actions).max(initial=0) <= 1e-3 * max(np.ptp(one.actions), 1e-3))


def _check_not_copies(candidates: Sequence[Candidate], spec: DataSpec) -> None:
    episodes = {candidate.row.episode for candidate in candidates}
    for name in sorted({name for pair in spec.not_copies for name in pair} - episodes):
        hint = did_you_mean(
            name, sorted(episodes), f"The source has {len(episodes)} episodes: `worldtune inspect` lists them."
        )
        raise DataError(f"not_copies names the episode '{name}', which does not exist", where=spec.path, hint=hint)


def _by_recording(candidates: Sequence[Candidate]) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = {}
    for number, candidate in enumerate(candidates):
        if candidate.clip is not None:
            numbers.setdefault(f"{candidate.clip.episode}/{candidate.clip.camera}", []).append(number)
    return numbers


def _clip_pairs(pair: SameFootage, numbers: dict[str, list[int]]) -> Iterator[tuple[int, int]]:
    """Yield the numbers of all pairs of usable clips of the two recordings; none for a pair confirmed as different."""
    if pair.outcome != CONFIRMED_DIFFERENT:
        yield from product(numbers.get(pair.first, []), numbers.get(pair.second, []))


def _clip_times(candidate: Candidate) -> tuple[float, float]:
    """Return the times of the clip's first and last frame, in seconds after the recording's first."""
    assert candidate.clip is not None
    assert candidate.recording is not None
    times, frame_indices = candidate.recording.times, candidate.clip.frame_indices
    return float(times[frame_indices[0]] - times[0]), float(times[frame_indices[-1]] - times[0])


def _same_window(one: Candidate, other: Candidate, lag: float) -> bool:
    """Return whether both clips begin and end at the same moments of the footage, to half a frame."""
    half = 0.5 / one.row.fps_out + 1e-6
    return all(abs(a + lag - b) <= half for a, b in zip(_clip_times(one), _clip_times(other), strict=True))


def _overlap(one: Candidate, other: Candidate, lag: float) -> bool:
    """Return whether the clips share a moment of the footage."""
    (start, end), (begin, last) = _clip_times(one), _clip_times(other)
    return min(end + lag, last) >= max(start + lag, begin)
