"""Read a source's recordings as they are asked for: flipped, and the cameras of an episode tiled into one recording.

Shapes: T frames, D values of a row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from worldtune.core.progress import Progress, silent
from worldtune.data.camera_grid import Layout, TiledFootage, grid_cameras, grid_name
from worldtune.data.episode import Episode, SkippedRecording
from worldtune.data.flips import Flip, flip_episode
from worldtune.data.sources import Source
from worldtune.data.spec import DataSpec


def read_recordings(
    source: Source, cameras: Sequence[str], flip: Flip | None = None, progress: Progress = silent
) -> Iterator[Episode | SkippedRecording]:
    """Yield `source.recordings(cameras)`, flipped if `flip` is given, and report the progress."""
    total = source.count * len(cameras)
    for done, recording in enumerate(source.recordings(cameras), start=1):
        progress(done, total)
        yield flip_episode(recording, flip) if flip and isinstance(recording, Episode) else recording


def tile_recordings(
    recordings: Iterator[Episode | SkippedRecording], spec: DataSpec
) -> Iterator[Episode | SkippedRecording]:
    """Yield the recordings; if the spec tiles cameras, yield one recording per episode."""
    if spec.tile is None:
        yield from recordings
        return
    for _, group in groupby(recordings, key=lambda recording: recording.name):
        yield _tile_episode({recording.camera: recording for recording in group}, spec.tile, spec)


def _tile_episode(
    by_camera: dict[str, Episode | SkippedRecording], layout: Layout, spec: DataSpec
) -> Episode | SkippedRecording:
    name = grid_name(layout)
    skipped = next((recording for recording in by_camera.values() if isinstance(recording, SkippedRecording)), None)
    if skipped is not None:
        return replace(skipped, camera=name, reason=f"{skipped.reason} ({skipped.camera})")
    usable = {camera: recording for camera, recording in by_camera.items() if isinstance(recording, Episode)}
    if missing := [camera for camera in grid_cameras(layout) if camera not in usable]:
        any_recording = next(iter(usable.values()))
        return SkippedRecording(
            any_recording.name,
            name,
            any_recording.task,
            any_recording.caption,
            any_recording.frames,
            any_recording.fps,
            f"no video by camera {missing[0]}",
        )
    first, frames = next(iter(usable.values())), min(recording.frames for recording in usable.values())
    notes = [recording.note for recording in usable.values() if recording.note]
    if reason := _timing_mismatch(usable):
        return SkippedRecording(first.name, name, first.task, first.caption, frames, first.fps, reason, first.session)
    if (longest := max(recording.frames for recording in usable.values())) > frames:
        notes.append(f"cut to the length of its shortest camera ({frames} of {longest} frames)")
    cells = tuple(tuple(usable[camera].footage if camera else None for camera in row) for row in layout)
    return replace(
        first,
        camera=name,
        footage=TiledFootage(cells, spec.height, spec.width, spec.fit),
        frames=frames,
        height=spec.height,
        width=spec.width,
        states=_truncate(first.states, first.frames - frames),
        actions=_truncate(first.actions, first.frames - frames),
        gaps=tuple(gap for recording in usable.values() for gap in recording.gaps),
        note="; ".join(dict.fromkeys(notes)),
        parts=tuple(part for part in first.parts if part[0] < frames),
    )


def _timing_mismatch(usable: dict[str, Episode]) -> str:
    """Return why frames of the same number have different times, or ""."""
    uneven = [camera for camera, recording in usable.items() if recording.times is not None]
    if uneven:
        return f"a tiled camera's frames are unevenly spaced in time ({uneven[0]})"
    rates = [recording.fps for recording in usable.values()]
    listed = ", ".join(f"{rate:g}" for rate in rates)
    return f"the tiled cameras have different rates ({listed} fps)" if len(set(rates)) > 1 else ""


def _truncate(rows_TD: np.ndarray | None, by: int) -> np.ndarray | None:
    return None if rows_TD is None else rows_TD[: max(len(rows_TD) - by, 0)]
