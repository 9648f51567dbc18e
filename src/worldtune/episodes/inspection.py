"""What a source really holds, beside what its metadata say."""

from dataclasses import dataclass, replace

import numpy as np

from worldtune.episodes.episode import Episode, Lost, Problem
from worldtune.episodes.sources import Advance, Source, read_all


@dataclass(frozen=True)
class Recording:
    """One camera of one episode. Sizes are None and `reason` says why when it cannot be used.

    `states` and `actions` are the dimensions of a row, None when the source has none.
    """

    episode: str
    camera: str
    task: str
    caption: str
    frames: int
    fps: float | None
    height: int | None = None
    width: int | None = None
    states: int | None = None
    actions: int | None = None
    note: str = ""
    reason: str = ""

    @property
    def seconds(self) -> float:
        return self.frames / self.fps if self.fps else 0.0


@dataclass(frozen=True)
class Inspection:
    """`usable`: the recordings that have frames, as the source gave them, without states and actions."""

    source: str
    kind: str
    cameras: list[str]
    recordings: list[Recording]
    problems: list[Problem]
    usable: list[Episode]


def inspect_source(source: Source, advance: Advance = lambda done, total: None) -> Inspection:
    """Decode every recording of `source`. Raises DataError when a data or caption file cannot be read."""
    recordings, usable = [], []
    for found in read_all(source, source.cameras, advance):
        recordings.append(_describe(found))
        if isinstance(found, Episode):
            usable.append(replace(found, states=None, actions=None))
    return Inspection(source.path, source.kind, source.cameras, recordings, source.problems(), usable)


def _describe(found: Episode | Lost) -> Recording:
    same = found.name, found.camera, found.task, found.caption, found.frames, found.fps
    if isinstance(found, Lost):
        return Recording(*same, reason=found.reason)
    sizes = found.height, found.width, _dimensions(found.states), _dimensions(found.actions)
    return Recording(*same, *sizes, note=found.note)


def _dimensions(array_TD: np.ndarray | None) -> int | None:
    return None if array_TD is None else int(array_TD.shape[1])
