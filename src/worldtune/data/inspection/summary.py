"""A summary of a source's real contents, compared with its metadata."""

from dataclasses import dataclass, replace

import numpy as np

from worldtune.core.progress import Progress, silent
from worldtune.data.episode import Episode, Problem, SkippedRecording
from worldtune.data.flips import Flip, drop_upside_down_warning
from worldtune.data.recordings import read_recordings
from worldtune.data.sources import Source


@dataclass(frozen=True)
class InspectedRecording:
    """One camera of one episode. If it cannot be used, sizes are None and `reason` says why.

    `states` and `actions` are the dimensions of a row, None if the source has none. `later_tasks` are the task texts
    of later parts, if the task changes.
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
    later_tasks: tuple[str, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task text, in order."""
        return self.task, *self.later_tasks

    @property
    def seconds(self) -> float:
        return self.frames / self.fps if self.fps else 0.0


@dataclass(frozen=True)
class Inspection:
    """The contents of a source.

    `usable`: the recordings with frames, as the source yielded them, without states and actions.
    `splits`: the number of episodes of each split that the source states.
    """

    source: str
    kind: str
    cameras: list[str]
    recordings: list[InspectedRecording]
    problems: list[Problem]
    usable: list[Episode]
    splits: dict[str, int]


def inspect_source(source: Source, progress: Progress = silent, flip: Flip | None = None) -> Inspection:
    """Decode every recording of `source`, flipped by `flip`.

    Raise DataError if a data file or caption file cannot be read.
    """
    recordings, usable = [], []
    for recording in read_recordings(source, source.cameras, flip, progress):
        recordings.append(_describe(recording))
        if isinstance(recording, Episode):
            usable.append(replace(recording, states=None, actions=None))
    splits = {name: len(episodes) for name, episodes in source.predefined_splits.items()}
    problems = drop_upside_down_warning(source.problems(), flip)
    return Inspection(source.path, source.kind, source.cameras, recordings, problems, usable, splits)


def _describe(recording: Episode | SkippedRecording) -> InspectedRecording:
    common = recording.name, recording.camera, recording.task, recording.caption, recording.frames, recording.fps
    if isinstance(recording, SkippedRecording):
        return InspectedRecording(*common, reason=recording.reason, later_tasks=recording.tasks[1:])
    sizes = recording.height, recording.width, _dimensions(recording.states), _dimensions(recording.actions)
    return InspectedRecording(*common, *sizes, note=recording.note, later_tasks=recording.tasks[1:])


def _dimensions(array_TD: np.ndarray | None) -> int | None:
    return None if array_TD is None else int(array_TD.shape[1])
