"""Several cameras' recordings of an episode as one, where the spec tiles them.

Shapes: T frames, D numbers of a row.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

import numpy as np

from worldtune.episodes.episode import Episode, Lost
from worldtune.episodes.spec import DataSpec
from worldtune.episodes.tiles import Layout, Tiled, name_of


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
