"""Footage on both sides of a split: a clip that is held out, anywhere in a recording that is trained on.

Whole clips are compared with all stretches of the other side's recordings, however these were cut, by small pictures
of a few of their frames. Two count as the same by the measure of `twins`.

Shapes: N clips, K pictures of a clip, F frames of recordings one after the other, D pixels of a small picture.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from worldtune.episodes.twins import centred, limits, within

SIDE, SHOWN = 8, 5  # a small picture's pixels a side, and how many of them a clip is recognised by
WIDER = 1.3  # so much more a thumbnail changes than the small picture of it, by whose measure `twins` has its limits
CLIPS, FRAMES = 256, 1 << 14  # that are compared at once


@dataclass(frozen=True, eq=False)
class Reel:
    """All of one camera's recording of an episode in small pictures, uint8 (T, D), at `fps`."""

    episode: str
    camera: str
    fps: float
    views: np.ndarray

    @property
    def name(self) -> str:
        return f"{self.episode}/{self.camera}"


@dataclass(frozen=True, eq=False)
class Shot:
    """A clip: the recording that it is of, and which frames of that it has."""

    reel: Reel
    picks: Sequence[int]

    @property
    def shown(self) -> np.ndarray:
        """(K,) frames spread evenly over the clip, as numbers of the recording."""
        return np.asarray(self.picks)[np.linspace(0, len(self.picks) - 1, SHOWN).round().astype(int)]


def small(thumbs_TSS: np.ndarray) -> np.ndarray:
    """uint8 (T, D) of thumbnails (T, 16, 16): the mean of each four pixels."""
    S = thumbs_TSS.shape[1] // SIDE
    parts = thumbs_TSS.reshape(len(thumbs_TSS), SIDE, S, SIDE, S).mean((2, 4), dtype=np.float32)
    return np.asarray(np.rint(parts).astype(np.uint8)).reshape(len(parts), SIDE * SIDE)


def copies(held: Sequence[Shot], trained: Sequence[Shot]) -> Iterator[tuple[str, str]]:
    """(held out, trained on): names of recordings of which one shows what a clip of the other does; each held once."""
    found = ((clip, reel) for clip, reel in _found(held, _reels(trained)))
    back = ((reel, clip) for clip, reel in _found(trained, _reels(held)))
    first: dict[str, str] = {}
    for one, other in (*found, *back):
        first.setdefault(one.name, other.name)
    yield from first.items()


def _reels(shots: Sequence[Shot]) -> list[Reel]:
    return list({id(shot.reel): shot.reel for shot in shots}.values())


def _found(shots: Sequence[Shot], reels: Sequence[Reel]) -> Iterator[tuple[Reel, Reel]]:
    """A shot's recording and one that shows it. Shots of one spacing and reels of one rate are compared together."""
    rates = sorted({reel.fps for reel in reels})
    for fps in rates:
        its = [reel for reel in reels if reel.fps == fps]
        groups: dict[tuple[int, ...], list[Shot]] = {}
        for shot in shots:
            steps = (shot.shown - shot.shown[0]) * (fps / shot.reel.fps)
            groups.setdefault(tuple(steps.round().astype(int).tolist()), []).append(shot)
        for steps, group in groups.items():
            for first in range(0, len(group), CLIPS):
                for shot, reel in _matches(group[first : first + CLIPS], its, steps):
                    if shot.reel.episode != reel.episode:
                        yield shot.reel, reel


def _matches(shots: Sequence[Shot], reels: Sequence[Reel], steps: tuple[int, ...]) -> Iterator[tuple[Shot, Reel]]:
    wanted_NKD = np.stack([shot.reel.views[shot.shown] for shot in shots])
    limit_N = limits(WIDER * np.array([within(views_KD) for views_KD in wanted_NKD], np.float32))
    a_NKD = centred(wanted_NKD)
    most_N1 = (np.square(limit_N) * wanted_NKD[0].size)[:, None]
    for views_FD, reel_F in _reels_together(reels, steps[-1]):
        b_FD, last = centred(views_FD), len(views_FD) - steps[-1]
        if last < 1:
            continue
        norm_F = np.square(b_FD).sum(1)
        square_NF = np.square(a_NKD).sum((1, 2))[:, None] + np.zeros(last, np.float32)
        for k, step in enumerate(steps):
            square_NF += norm_F[step : step + last] - 2 * a_NKD[:, k] @ b_FD[step : step + last].T
        whole_F = reel_F[:last] == reel_F[steps[-1] : steps[-1] + last]
        for i, at in np.argwhere((square_NF <= most_N1) & whole_F):
            yield shots[i], reels[reel_F[at]]


def _reels_together(reels: Sequence[Reel], span: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The reels' views one after the other in parts that overlap by `span`, with the number of each one's reel."""
    views_FD = np.concatenate([reel.views for reel in reels])
    reel_F = np.repeat(np.arange(len(reels)), [len(reel.views) for reel in reels])
    for first in range(0, len(views_FD), FRAMES):
        yield views_FD[first : first + FRAMES + span], reel_F[first : first + FRAMES + span]
