"""From recordings to candidate clips: each a row of the ledger, and a clip unless something speaks against it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from worldtune.episodes.captions import Captioner
from worldtune.episodes.clip import Clip
from worldtune.episodes.curation import Sight, moving_part, see
from worldtune.episodes.episode import Episode, Lost
from worldtune.episodes.leaks import Reel, small
from worldtune.episodes.ledger import UNASKED, Row
from worldtune.episodes.looks import Looks
from worldtune.episodes.spec import DataSpec
from worldtune.episodes.windows import cut, draw, jump_within, meets, nearest, recorded, retime, retime_by, stretch
from worldtune.errors import DataError
from worldtune.seeds import seed_of


@dataclass(frozen=True, eq=False)
class Candidate:
    """A row of the ledger; where it may be used, its clip, what to judge that by, and the recording that it is of.

    `seen`: the clip although it may not be used.
    """

    row: Row
    clip: Clip | None = None
    sight: Sight | None = None
    reel: Reel | None = None
    seen: Clip | None = None

    def refused(self, reason: str) -> "Candidate":
        """The same, not to be used."""
        return Candidate(replace(self.row, kept=False, reason=reason), seen=self.clip)


def candidates(recording: Episode | Lost, spec: DataSpec, captioner: Captioner) -> Iterator[Candidate]:
    """The rows of one recording, each that may be used with its clip. Raises DataError for a stride too fine."""
    row = _row(recording, spec)
    if spec.tasks is not None and recording.task not in spec.tasks:
        yield Candidate(replace(row, reason=UNASKED))
        return
    if isinstance(recording, Lost):
        yield Candidate(replace(row, reason=recording.reason))
        return
    caption, origin = captioner.caption(recording)
    row = replace(row, caption=caption or "", caption_origin=origin if caption else "", note=recording.note)
    if reason := _unfit(recording, spec) or ("" if caption else f"caption missing ({origin})"):
        yield Candidate(replace(row, reason=reason))
        return
    try:
        looks = recording.footage.looks(recording.frames)
    except DataError as error:
        yield Candidate(replace(row, reason=error.what))
        return
    yield from _windows(recording, looks, spec, row)


def _row(recording: Episode | Lost, spec: DataSpec) -> Row:
    return Row(
        spec.path,
        recording.name,
        recording.camera,
        recording.task,
        recording.caption,
        0,
        recording.frames,
        recording.fps,
        spec.fps,
        session=recording.session,
    )


def _unfit(episode: Episode, spec: DataSpec) -> str:
    for name, array_TD in (("state", episode.states), ("action", episode.actions)):
        if array_TD is not None and len(array_TD) != episode.frames:
            return f"{name} rows and frames differ ({len(array_TD)} and {episode.frames})"
    if spec.retime == "exact" and episode.times is not None:
        return f"frames not evenly spaced in time cannot be made {spec.fps:g} fps exactly"
    if spec.retime == "exact" and not meets(episode.fps, spec.fps):
        return f"{episode.fps:g} fps cannot be made {spec.fps:g} fps exactly"
    return ""


def _windows(episode: Episode, looks: Looks, spec: DataSpec, row: Row) -> Iterator[Candidate]:
    start, frames, notes = 0, episode.frames, [row.note, _stretched(episode, spec)]
    if spec.curate.trim:
        start, frames = moving_part(looks)
        cut_off = (start, episode.frames - start - frames)
        notes += [f"idle {end} left out" for end, n in zip(("head", "tail"), cut_off, strict=True) if n]
    times_T = None if episode.times is None else episode.times[start : start + frames]
    speed, targets = 1.0, _targets(frames, times_T, episode.fps, spec)
    if spec.windows == "whole":
        seconds = (frames - 1) / episode.fps if times_T is None else float(times_T[-1] - times_T[0])
        speed = seconds * spec.fps / max(spec.frames - 1, 1)
        notes.append(f"whole episode at {speed:.2f} × its speed")
    elif times_T is not None or episode.fps != spec.fps:
        repeats = ", frames repeat" if spec.fps > episode.fps else ""
        notes.append(f"retimed from {episode.fps:g} to {spec.fps:g} fps{repeats}")
    row = replace(row, note="; ".join(filter(None, notes)), speed=speed)
    starts, rest = _starts(targets, episode, spec)
    if times_T is None:
        _refuse_twice(starts, targets, episode, spec)
    begun: set[int] = set()
    reel = Reel(episode.name, episode.camera, episode.fps, small(looks.thumbs)) if spec.holds_out else None
    for first in starts:
        picks = tuple(start + target for target in targets[first : first + spec.frames])
        if jump := jump_within(_between(picks, start, first, times_T, spec), episode.jumps):
            reason = f"time stamps jump (by {jump[1]:.2g} s after frame {jump[0]})"
        else:
            reason = "begins at the same frame as another window" if picks[0] in begun else ""
        if reason:
            yield Candidate(replace(row, first_frame=picks[0], frames=len(picks), reason=reason))
        else:
            begun.add(picks[0])
            yield _candidate(episode, looks, spec, row, picks, reel)
    if rest is not None:
        count = len(targets) - rest
        what = "left over at the episode's end" if starts else "shorter than the window"
        reason = f"{what} ({count} of {spec.frames} frames)"
        begin = start + targets[rest] if targets else 0
        yield Candidate(replace(row, first_frame=begin, frames=count, reason=reason))


def _stretched(episode: Episode, spec: DataSpec) -> str:
    shape, asked = episode.width / episode.height, spec.width / spec.height
    if spec.fit != "stretch" or abs(shape / asked - 1) < 0.02:
        return ""
    return f"stretched from {episode.width}×{episode.height} out of its shape"


def _targets(frames: int, times_T: np.ndarray | None, fps: float, spec: DataSpec) -> Sequence[int]:
    if spec.windows == "whole" and times_T is not None:
        return nearest(times_T, np.linspace(0, times_T[-1] - times_T[0], spec.frames))
    if spec.windows == "whole":
        return stretch(frames, spec.frames)
    return retime(frames, fps, spec.fps) if times_T is None else retime_by(times_T, spec.fps)


def _starts(targets: Sequence[int], episode: Episode, spec: DataSpec) -> tuple[list[int], int | None]:
    if spec.windows != "random":
        return cut(len(targets), spec.frames, spec.stride or spec.frames)
    fit = range(len(targets) - spec.frames + 1)
    begins = [k for k in fit if k == 0 or targets[k] > targets[k - 1]]  # no two at the same frame
    room = len(begins) + spec.frames - 1
    drawn = draw(room, spec.frames, spec.draws or 1, seed_of(spec.seed, episode.name))
    return [begins[k] for k in drawn], None if drawn else 0


def _between(
    picks: Sequence[int], start: int, first: int, times_T: np.ndarray | None, spec: DataSpec
) -> tuple[int, int]:
    """The frames that the window beginning at target `first` lies between."""
    if times_T is None or spec.windows == "whole":
        return picks[0], picks[-1]
    before, after = recorded(times_T, first / spec.fps, (first + spec.frames - 1) / spec.fps)
    return start + before, start + after


def _refuse_twice(starts: Sequence[int], targets: Sequence[int], episode: Episode, spec: DataSpec) -> None:
    if len({targets[start] for start in starts}) < len(starts):
        raise DataError(
            f"stride {spec.stride or spec.frames} at {spec.fps:g} fps is finer than the source's {episode.fps:g} fps",
            where=spec.path,
            mend="Take a longer stride: two clips would begin at the same frame.",
        )


def _candidate(
    episode: Episode,
    looks: Looks,
    spec: DataSpec,
    row: Row,
    picks: tuple[int, ...],
    reel: Reel | None,
) -> Candidate:
    sight = see(episode.camera, looks, picks, episode.actions, episode.states)
    row = replace(
        row,
        first_frame=picks[0],
        frames=len(picks),
        kept=True,
        motion=sight.motion,
        still=sight.still,
        sharpness=sight.sharpness,
        brightness=sight.brightness,
    )
    clip = Clip(
        source=spec.path,
        episode=episode.name,
        camera=episode.camera,
        task=episode.task,
        caption=row.caption,
        footage=episode.footage,
        picks=picks,
        fps=spec.fps,
        height=spec.height,
        width=spec.width,
        fit=spec.fit,
        states=sight.states,
        actions=sight.actions,
    )
    return Candidate(row, clip, sight, reel)
