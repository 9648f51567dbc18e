"""From recordings to candidate clips: each a row of the ledger, and a clip unless something speaks against it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from worldtune.episodes.captions import Captioner
from worldtune.episodes.clip import Clip
from worldtune.episodes.curation import Sight, moving_part, see
from worldtune.episodes.episode import Episode, Lost
from worldtune.episodes.ledger import UNASKED, Row
from worldtune.episodes.looks import Looks
from worldtune.episodes.spec import DataSpec
from worldtune.episodes.tiles import Layout, Tiled, name_of
from worldtune.episodes.windows import cut, draw, jump_within, meets, nearest, recorded, retime, retime_by, stretch
from worldtune.errors import DataError
from worldtune.seeds import seed_of


@dataclass(frozen=True, eq=False)
class Candidate:
    """A row of the ledger; where it may be used, its clip and what to judge that by. `seen`: that clip even so."""

    row: Row
    clip: Clip | None = None
    sight: Sight | None = None
    seen: Clip | None = None

    def refused(self, reason: str) -> "Candidate":
        """The same, not to be used."""
        return Candidate(replace(self.row, kept=False, reason=reason), seen=self.clip)


def tiled(recordings: Iterator[Episode | Lost], spec: DataSpec) -> Iterator[Episode | Lost]:
    """The recordings; if the spec tiles cameras, those of each episode as one."""
    if spec.tile is None:
        yield from recordings
        return
    for _, group in groupby(recordings, key=lambda recording: recording.name):
        yield _together({recording.camera: recording for recording in group}, spec.tile, spec)


def _together(found: dict[str, Episode | Lost], layout: Layout, spec: DataSpec) -> Episode | Lost:
    name = name_of(layout)
    lost = next((recording for recording in found.values() if isinstance(recording, Lost)), None)
    if lost is not None:
        return replace(lost, camera=name, reason=f"{lost.reason} ({lost.camera})")
    shown = {camera: recording for camera, recording in found.items() if isinstance(recording, Episode)}
    first, frames = next(iter(shown.values())), min(recording.frames for recording in shown.values())
    notes = [recording.note for recording in shown.values() if recording.note]
    if reason := _untimely(shown):
        return Lost(first.name, name, first.task, first.caption, frames, first.fps, reason, first.session)
    if (longest := max(recording.frames for recording in shown.values())) > frames:
        notes.append(f"as long as its shortest camera ({frames} of {longest} frames)")
    cells = tuple(tuple(shown[camera].footage if camera else None for camera in row) for row in layout)
    return replace(
        first,
        camera=name,
        footage=Tiled(cells, spec.height, spec.width, spec.fit),
        frames=frames,
        height=spec.height,
        width=spec.width,
        states=_shortened(first.states, first.frames - frames),
        actions=_shortened(first.actions, first.frames - frames),
        jumps=tuple(jump for recording in shown.values() for jump in recording.jumps),
        note="; ".join(dict.fromkeys(notes)),
    )


def _untimely(shown: dict[str, Episode]) -> str:
    """Why frames of the same number are not of the same time, or ""."""
    uneven = [camera for camera, recording in shown.items() if recording.times is not None]
    if uneven:
        return f"a tiled camera's frames are not evenly spaced in time ({uneven[0]})"
    rates = [recording.fps for recording in shown.values()]
    listed = ", ".join(f"{rate:g}" for rate in rates)
    return f"the tiled cameras are of unlike rates ({listed} fps)" if len(set(rates)) > 1 else ""


def _shortened(rows_TD: np.ndarray | None, by: int) -> np.ndarray | None:
    return None if rows_TD is None else rows_TD[: max(len(rows_TD) - by, 0)]


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
    row = replace(row, caption=caption or "", caption_origin=origin, note=recording.note)
    if reason := _unfit(recording, spec) or ("" if caption else "caption missing"):
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
    start, frames, notes = 0, episode.frames, [row.note]
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
            yield _candidate(episode, looks, spec, row, picks)
    if rest is not None:
        count = len(targets) - rest
        reason = f"shorter than the window ({count} of {spec.frames} frames)"
        note = "; ".join(filter(None, [row.note, "what is left at the episode's end" if starts else ""]))
        begin = start + targets[rest] if targets else 0
        yield Candidate(replace(row, first_frame=begin, frames=count, reason=reason, note=note))


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
    return Candidate(row, clip, sight)
