"""Calibration of the critics on real clips that passed through the base's codec and the video file, as dreams do.

The false-alarm rate is measured by leaving out one clip at a time: the chain is fitted to the others and asked about
it. The limits are widened until this rate is at most 5 %. As the same clips choose the limits, the rate of other clips
is a little higher.

Shape letters: T frames, H height, W width, C channels.
"""

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
from worldtune.dreams.critics.chain import Chain, Measured, fit_chain, measure
from worldtune.dreams.labeler import Labeler
from worldtune.dreams.request import CriticName
from worldtune.errors import DataError
from worldtune.evaluation.cases.case import Frames, video_from_frames
from worldtune.evaluation.metrics.video_features import VideoFeatures
from worldtune.models.world import World

MIN_CLIPS, MAX_CLIPS = 8, 48
MAX_FALSE_ALARMS = 0.05
FACTOR_STEP, MAX_FACTOR = 1.1, 100.0


class Calibration(StrictModel):
    """The calibrated chain, and its false alarms: how many of `clips` real clips it rejects when they are left out.

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
        kind = "held-out" if self.held_out else "training"
        return f"critics reject {self.false_alarms} of {self.clips} real {kind} clips ({self.rate:.1%})"


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
    factors = fit_factors(critics, measured)
    alarms = leave_one_out(critics, measured, factors)
    return Calibration(
        chain=fit_chain(critics, measured, factors),
        clips=len(measured),
        held_out=real.held_out,
        false_alarms=sum(map(bool, alarms)),
    )


def fit_factors(critics: Sequence[CriticName], real: Sequence[Measured]) -> dict[str, float]:
    """Return the factor of each value: 1, raised for the value with the most false alarms until 5 % are left.

    Raise DataError if that does not succeed.
    """
    factors: dict[str, float] = {}
    while sum(map(bool, alarms := leave_one_out(critics, real, factors))) > MAX_FALSE_ALARMS * len(real):
        worst = Counter(name for found in alarms for name in found).most_common(1)[0][0]
        factors[worst] = factors.get(worst, 1.0) * FACTOR_STEP
        if factors[worst] > MAX_FACTOR:
            what = f"{worst} rejects more than {MAX_FALSE_ALARMS:.0%} of the real clips, whatever its limit"
            raise DataError(what, where="critics", hint="Leave the critic out, or give a reference with more clips.")
    return factors


def leave_one_out(
    critics: Sequence[CriticName], real: Sequence[Measured], factors: Mapping[str, float]
) -> list[tuple[str, ...]]:
    """Return for each real clip the values that reject it, if the limits are fitted to the other clips."""
    found = []
    for number, clip in enumerate(real):
        chain = fit_chain(critics, [*real[:number], *real[number + 1 :]], factors)
        found.append(tuple(chain.judge(clip).faults))
    return found


def _as_stored(world: World, frames_THWC: Frames, fps: float) -> Frames:
    """Return the frames after the base's codec and the mp4."""
    z_BCTHW = world.encode(torch.from_numpy(np.ascontiguousarray(frames_THWC))[None])
    decoded_THWC = np.asarray(world.decode(z_BCTHW)[0].cpu())
    with scratch_folder() as folder:
        write_video(folder / "clip.mp4", decoded_THWC, fps)
        return np.stack(list(read_frames(folder / "clip.mp4")))
