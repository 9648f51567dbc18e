"""From recordings to candidate clips: a ledger row for each, and a clip unless something rules it out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from worldtune.core.seeds import derive_seed
from worldtune.data.camera_grid import cell_footage
from worldtune.data.captioning.captions import Captioner
from worldtune.data.clip import Clip
from worldtune.data.curation.curate import ClipQuality, find_moving_part, measure_quality
from worldtune.data.curation.recording import Recording, build_recording
from worldtune.data.curation.trajectories import ActionTrace, trace_actions
from worldtune.data.episode import Episode, SkippedRecording
from worldtune.data.ledger import TASK_NOT_REQUESTED, Row
from worldtune.data.spec import DataSpec
from worldtune.data.video.frame_features import FrameFeatures
from worldtune.data.windows import (
    find_gap_within,
    grid_windows,
    nearest_frames,
    random_windows,
    rates_divide,
    retime,
    retime_uneven,
    stretch_frames,
    surrounding_frames,
)
from worldtune.errors import DataError

TASK_PART_NOTE = "part of an episode whose task changes"


@dataclass(frozen=True, eq=False)
class Candidate:
    """A ledger row; if it may be used, its clip, the clip's quality, and its recording.

    `rejected_clip`: the clip of a rejected candidate.
    """

    row: Row
    clip: Clip | None = None
    quality: ClipQuality | None = None
    recording: Recording | None = None
    rejected_clip: Clip | None = None

    def reject(self, reason: str) -> "Candidate":
        """Return the candidate, marked as unused for `reason`."""
        return Candidate(replace(self.row, kept=False, reason=reason), rejected_clip=self.clip)


def find_candidates(recording: Episode | SkippedRecording, spec: DataSpec, captioner: Captioner) -> Iterator[Candidate]:
    """Yield the candidates of one recording, usable ones with a clip. Raise DataError if the stride is too fine."""
    if isinstance(recording, SkippedRecording):
        requested = spec.tasks is None or not set(spec.tasks).isdisjoint(recording.tasks)
        row = _ledger_row(recording, spec, 0, recording.frames)
        yield Candidate(replace(row, reason=recording.reason if requested else TASK_NOT_REQUESTED))
        return
    for first, frames, part in recording.by_task():
        yield from _candidates_of_task(part, first, frames, spec, captioner)


def _candidates_of_task(
    recording: Episode, first: int, frames: int, spec: DataSpec, captioner: Captioner
) -> Iterator[Candidate]:
    """Yield the candidates among the frames of one task."""
    row = _ledger_row(recording, spec, first, frames)
    if spec.tasks is not None and recording.task not in spec.tasks:
        yield Candidate(replace(row, reason=TASK_NOT_REQUESTED))
        return
    caption, origin = captioner.caption(recording, first)
    part = "" if frames == recording.frames else TASK_PART_NOTE
    note = "; ".join(filter(None, [recording.note, part]))
    row = replace(row, caption=caption or "", caption_origin=origin if caption else "", note=note)
    if reason := _unfit_reason(recording, spec) or ("" if caption else f"caption missing ({origin})"):
        yield Candidate(replace(row, reason=reason))
        return
    try:
        frame_features = recording.footage.frame_features(recording.frames)
        footage_by_camera = cell_footage(recording.footage, spec.tile)
        cells = {camera: footage.frame_features(recording.frames) for camera, footage in footage_by_camera.items()}
    except DataError as error:
        yield Candidate(replace(row, reason=error.what))
        return
    yield from _window_candidates(recording, frame_features, cells, spec, row)


def _ledger_row(recording: Episode | SkippedRecording, spec: DataSpec, first: int, frames: int) -> Row:
    return Row(
        spec.path,
        recording.name,
        recording.camera,
        recording.task,
        recording.caption,
        first,
        frames,
        recording.fps,
        spec.fps,
        session=recording.session,
    )


def _unfit_reason(episode: Episode, spec: DataSpec) -> str:
    for name, array_TD in (("state", episode.states), ("action", episode.actions)):
        if array_TD is not None and len(array_TD) != episode.frames:
            return f"{name} rows and frames differ ({len(array_TD)} and {episode.frames})"
    if spec.retime == "exact" and episode.times is not None:
        return f"frames unevenly spaced in time cannot be retimed to {spec.fps:g} fps exactly"
    if spec.retime == "exact" and not rates_divide(episode.fps, spec.fps):
        return f"{episode.fps:g} fps cannot be retimed to {spec.fps:g} fps exactly"
    return ""


def _window_candidates(
    episode: Episode, frame_features: FrameFeatures, cells: dict[str, FrameFeatures], spec: DataSpec, row: Row
) -> Iterator[Candidate]:
    """Yield the candidates among the row's frames."""
    start, frames, notes = row.first_frame, row.frames, [row.note, _stretch_note(episode, spec)]
    if spec.curate.trim:
        idle, frames = find_moving_part(frame_features.select(start, row.frames))
        start, cut_off = start + idle, (idle, row.frames - idle - frames)
        notes += [f"idle {end} removed" for end, n in zip(("head", "tail"), cut_off, strict=True) if n]
    times_T = None if episode.times is None else episode.times[start : start + frames]
    speed, targets = 1.0, _target_frames(frames, times_T, episode.fps, spec)
    if spec.windows == "whole":
        seconds = (frames - 1) / episode.fps if times_T is None else float(times_T[-1] - times_T[0])
        speed = seconds * spec.fps / max(spec.frames - 1, 1)
        notes.append(f"whole episode at {speed:.2f} × its speed")
    elif times_T is not None or episode.fps != spec.fps:
        repeats = ", frames repeat" if spec.fps > episode.fps else ""
        notes.append(f"retimed from {episode.fps:g} to {spec.fps:g} fps{repeats}")
    row = replace(row, note="; ".join(filter(None, notes)), speed=speed)
    starts, remainder = _window_starts(targets, episode, row.first_frame, spec)
    if times_T is None:
        _check_stride(starts, targets, episode, spec)
    used_starts: set[int] = set()
    search_recording = build_recording(episode, frame_features) if spec.holds_out or spec.curate.duplicates else None
    action_trace = trace_actions(episode.name, episode.actions, episode.states)
    for first in starts:
        frame_indices = tuple(start + target for target in targets[first : first + spec.frames])
        if gap := find_gap_within(_frame_range(frame_indices, start, first, times_T, spec), episode.gaps):
            reason = f"timestamps jump (by {gap[1]:.2g} s after frame {gap[0]})"
        else:
            reason = "begins at the same frame as another window" if frame_indices[0] in used_starts else ""
        if reason:
            yield Candidate(replace(row, first_frame=frame_indices[0], frames=len(frame_indices), reason=reason))
        else:
            used_starts.add(frame_indices[0])
            quality = _measure_quality(episode, frame_features, cells, frame_indices, action_trace)
            yield _make_candidate(episode, quality, spec, row, frame_indices, search_recording)
    if remainder is not None:
        count = len(targets) - remainder
        what = "left over at the episode's end" if starts else "shorter than the window"
        reason = f"{what} ({count} of {spec.frames} frames)"
        begin = start + targets[remainder] if targets else 0
        yield Candidate(replace(row, first_frame=begin, frames=count, reason=reason))


def _stretch_note(episode: Episode, spec: DataSpec) -> str:
    shape, requested = episode.width / episode.height, spec.width / spec.height
    if spec.fit != "stretch" or abs(shape / requested - 1) < 0.02:
        return ""
    return f"stretched out of shape from {episode.width}×{episode.height}"


def _target_frames(frames: int, times_T: np.ndarray | None, fps: float, spec: DataSpec) -> Sequence[int]:
    if spec.windows == "whole" and times_T is not None:
        return nearest_frames(times_T, np.linspace(0, times_T[-1] - times_T[0], spec.frames))
    if spec.windows == "whole":
        return stretch_frames(frames, spec.frames)
    return retime(frames, fps, spec.fps) if times_T is None else retime_uneven(times_T, spec.fps)


def _window_starts(
    targets: Sequence[int], episode: Episode, first: int, spec: DataSpec
) -> tuple[list[int], int | None]:
    if spec.windows != "random":
        return grid_windows(len(targets), spec.frames, spec.stride or spec.frames)
    fit = range(len(targets) - spec.frames + 1)
    begins = [k for k in fit if k == 0 or targets[k] > targets[k - 1]]  # no two at the same frame
    count = len(begins) + spec.frames - 1
    seed = derive_seed(spec.seed, episode.name, *([first] if first else []))
    drawn = random_windows(count, spec.frames, spec.draws or 1, seed)
    return [begins[k] for k in drawn], None if drawn else 0


def _frame_range(
    frame_indices: Sequence[int], start: int, first: int, times_T: np.ndarray | None, spec: DataSpec
) -> tuple[int, int]:
    """Return the frames that enclose the window beginning at target `first`."""
    if times_T is None or spec.windows == "whole":
        return frame_indices[0], frame_indices[-1]
    before, after = surrounding_frames(times_T, first / spec.fps, (first + spec.frames - 1) / spec.fps)
    return start + before, start + after


def _check_stride(starts: Sequence[int], targets: Sequence[int], episode: Episode, spec: DataSpec) -> None:
    if len({targets[start] for start in starts}) < len(starts):
        raise DataError(
            f"stride {spec.stride or spec.frames} at {spec.fps:g} fps is finer than the source's {episode.fps:g} fps",
            where=spec.path,
            hint="Use a longer stride: two clips would begin at the same frame.",
        )


def _measure_quality(
    episode: Episode,
    frame_features: FrameFeatures,
    cells: dict[str, FrameFeatures],
    frame_indices: Sequence[int],
    action_trace: ActionTrace | None,
) -> ClipQuality:
    return measure_quality(
        episode.camera,
        frame_features,
        frame_indices,
        episode.actions,
        episode.states,
        episode.name,
        cells,
        action_trace,
    )


def _make_candidate(
    episode: Episode,
    quality: ClipQuality,
    spec: DataSpec,
    row: Row,
    frame_indices: tuple[int, ...],
    recording: Recording | None,
) -> Candidate:
    row = replace(
        row,
        first_frame=frame_indices[0],
        frames=len(frame_indices),
        kept=True,
        motion=quality.motion,
        still=quality.still,
        sharpness=quality.sharpness,
        brightness=quality.brightness,
    )
    clip = Clip(
        source=spec.path,
        episode=episode.name,
        camera=episode.camera,
        task=episode.task,
        caption=row.caption,
        footage=episode.footage,
        frame_indices=frame_indices,
        fps=spec.fps,
        height=spec.height,
        width=spec.width,
        fit=spec.fit,
        states=quality.states,
        actions=quality.actions,
    )
    return Candidate(row, clip, quality, recording)
