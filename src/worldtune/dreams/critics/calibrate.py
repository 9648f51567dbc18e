"""Calibration of the critics on real clips that passed through the base's codec and the video file, as dreams do.

Each value gets a factor, by which its limit lies beyond a quantile of the real clips: the smallest with which at most
5 % of the clips are rejected by limits fitted to the other clips. As the same clips choose these factors, further
clips would be rejected more often. So the clips are divided into folds, each is judged by limits fitted without it, and
all factors are multiplied by the margin with which at most 5 % are rejected. That share is the false-alarm rate.

Shape letters: T frames, H height, W width, C channels.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from worldtune.core.files import scratch_folder
from worldtune.core.progress import Progress, silent
from worldtune.core.settings import StrictModel
from worldtune.data.clip import Clip, read_clips
from worldtune.data.dataset import Dataset
from worldtune.data.video.decode import read_frames, write_video
from worldtune.dreams.critics.chain import Chain, Measured, fit_chain, measure, required_factors
from worldtune.dreams.labeler import Labeler
from worldtune.dreams.request import CriticName
from worldtune.errors import DataError
from worldtune.evaluation.cases.case import Frames, video_from_frames
from worldtune.evaluation.metrics.video_features import VideoFeatures
from worldtune.models.world import World

MIN_CLIPS, MAX_CLIPS = 8, 48
MAX_FALSE_ALARMS = 0.05
MAX_FACTOR, ROUNDING = 100.0, 1e-6
FOLDS = 5


class Calibration(StrictModel):
    """The calibrated chain, and its false alarms: how many of `clips` real clips it rejects if fitted without them.

    `held_out` says whether the clips are unseen by the adapter.
    """

    chain: Chain
    clips: int
    held_out: bool
    false_alarms: int

    @property
    def rate(self) -> float:
        """The share of real clips that are rejected."""
        return self.false_alarms / self.clips

    def __str__(self) -> str:
        text = f"critics reject {self.false_alarms} of {self.clips} real clips ({self.rate:.1%})"
        return text if self.held_out else f"{text}; some were trained on, so new scenes are rejected more often"


@dataclass(frozen=True)
class RealClips:
    """The clips that critics are calibrated on, and whether they are held out."""

    clips: tuple[Clip, ...]
    held_out: bool


def choose_real_clips(dataset: Dataset, where: str) -> RealClips:
    """Return at most 48 real clips, evenly spread: held-out ones if there are 8, otherwise all.

    Raise DataError if there are fewer than 8.
    """
    held_out = dataset.held_out
    every = [clip for clip in dataset.clips if not clip.augmentation.copy]
    clips, unseen = (held_out, True) if len(held_out) >= MIN_CLIPS else (every, False)
    if len(clips) < MIN_CLIPS:
        what = f"critics are calibrated on at least {MIN_CLIPS} real clips; there are {len(clips)}"
        raise DataError(what, where=where, hint="Give reference with more clips, or critics: [].")
    chosen = np.unique(np.linspace(0, len(clips) - 1, min(MAX_CLIPS, len(clips))).round().astype(int))
    return RealClips(tuple(clips[number] for number in chosen), unseen)


def calibrate(
    world: World, labeler: Labeler, real: RealClips, critics: Sequence[CriticName], progress: Progress = silent
) -> Calibration:
    """Return the calibrated critics. Raise DataError if no limits keep the false alarms at 5 % or below."""
    measured = []
    for done, (clip, frames_THWC) in enumerate(read_clips(real.clips), start=1):
        stored_THWC = _as_stored(world, frames_THWC, clip.fps)
        start_S = None if clip.states is None else np.asarray(clip.states[0], np.float32)
        labels = labeler.label(stored_THWC, start_S)
        measured.append(measure(VideoFeatures(video_from_frames(stored_THWC, clip.name)), labels, critics))
        progress(done, len(real.clips), clip.name)
    margins = fold_margins(critics, measured)
    margin = conformal_margin(margins)
    factors = fit_factors(leave_one_out(critics, measured))
    names = required_factors(critics, measured, measured[0])
    return Calibration(
        chain=fit_chain(critics, measured, {name: margin * factors.get(name, 1.0) for name in names}),
        clips=len(measured),
        held_out=real.held_out,
        false_alarms=sum(own > margin for own in margins),
    )


def fold_margins(critics: Sequence[CriticName], real: Sequence[Measured]) -> list[float]:
    """Return for each real clip the margin, 1 or more, that limits fitted without its fold need to accept it."""
    margins = [1.0] * len(real)
    for fold in range(FOLDS):
        inside = [clip for number, clip in enumerate(real) if number % FOLDS != fold]
        factors = fit_factors(leave_one_out(critics, inside))
        for number in range(fold, len(real), FOLDS):
            required = required_factors(critics, inside, real[number])
            margins[number] = max(1.0, *(factor / factors.get(name, 1.0) for name, factor in required.items()))
    return margins


def conformal_margin(margins: Sequence[float]) -> float:
    """Return the margin that a further clip exceeds with a probability of about 5 %, or 1 / (n + 1) if n < 19.

    It is the ⌈0.95 (n + 1)⌉-th smallest of n, as in conformal prediction (Lei et al. 2018, arXiv:1604.04173, §2.2).
    Raise DataError if no finite margin is large enough.
    """
    rank = min(math.ceil((1 - MAX_FALSE_ALARMS) * (len(margins) + 1)), len(margins))
    margin = sorted(margins)[rank - 1] * (1 + ROUNDING)
    if margin > MAX_FACTOR:
        what = f"the critics reject more than {MAX_FALSE_ALARMS:.0%} of the real clips, whatever their limits"
        raise DataError(what, where="critics", hint="Choose fewer critics, or give a reference with more clips.")
    return margin


def leave_one_out(critics: Sequence[CriticName], real: Sequence[Measured]) -> list[dict[str, float]]:
    """Return for each real clip the factor of each value that limits fitted to the other clips need to accept it."""
    return [required_factors(critics, [*real[:number], *real[number + 1 :]], clip) for number, clip in enumerate(real)]


def count_alarms(required: Sequence[Mapping[str, float]], factors: Mapping[str, float]) -> int:
    """Return how many of the clips are rejected with these factors; a value without a factor has 1."""
    return sum(bool(_faults(clip, factors)) for clip in required)


def fit_factors(required: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the factors of the values: the one with most false alarms is raised, step by step, until 5 % are left.

    Raise DataError if that does not succeed.
    """
    factors: dict[str, float] = {}
    while count_alarms(required, factors) > MAX_FALSE_ALARMS * len(required):
        faults = Counter(name for clip in required for name in _faults(clip, factors))
        worst = faults.most_common(1)[0][0]
        factors[worst] = (1 + ROUNDING) * min(clip[worst] for clip in required if worst in _faults(clip, factors))
        if factors[worst] > MAX_FACTOR:
            what = f"{worst} rejects more than {MAX_FALSE_ALARMS:.0%} of the real clips, whatever its limit"
            raise DataError(what, where="critics", hint="Leave the critic out, or give a reference with more clips.")
    return factors


def _faults(required: Mapping[str, float], factors: Mapping[str, float]) -> list[str]:
    return [name for name, factor in required.items() if factor > factors.get(name, 1.0)]


def _as_stored(world: World, frames_THWC: Frames, fps: float) -> Frames:
    """Return the frames after the base's codec and the mp4."""
    z_BCTHW = world.encode(torch.from_numpy(np.ascontiguousarray(frames_THWC))[None])
    decoded_THWC = np.asarray(world.decode(z_BCTHW)[0].cpu())
    with scratch_folder() as folder:
        write_video(folder / "clip.mp4", decoded_THWC, fps)
        return np.stack(list(read_frames(folder / "clip.mp4")))
