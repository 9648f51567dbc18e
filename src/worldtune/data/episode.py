"""What a source yields before windows are cut: one camera's recording of one episode, or why it is skipped."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from worldtune.data.video.footage import Footage


@dataclass(frozen=True, eq=False)
class Episode:
    """One camera's recording of one episode, its frames still on disk.

    It has `frames` frames at `fps`, of height × width pixels; all of them decode. `times` (T,) are the frames' seconds
    if they are not evenly spaced; `gaps` are (frame before the gap, seconds without a recording). states (T, S) and
    actions (T, A) are float32, or None if the source has none. `session` and `robot` are "" if unknown. `note` goes
    into the ledger. `parts` are (first frame, task text) of each part of an episode whose task changes, from frame 0
    on; () if the task stays the same.
    """

    name: str
    camera: str
    task: str
    caption: str
    footage: Footage
    frames: int
    fps: float
    height: int
    width: int
    states: np.ndarray | None = None
    actions: np.ndarray | None = None
    times: np.ndarray | None = None
    gaps: tuple[tuple[int, float], ...] = ()
    session: str = ""
    robot: str = ""
    note: str = ""
    parts: tuple[tuple[int, str], ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task text, in order."""
        return tuple(text for _, text in self.parts) or (self.task,)

    def by_task(self) -> Iterator[tuple[int, int, "Episode"]]:
        """Yield the first frame of each part, its number of frames, and the episode with the part's task text."""
        if not self.parts:
            yield 0, self.frames, self
        ends = [first for first, _ in self.parts[1:]] + [self.frames]
        for (first, text), end in zip(self.parts, ends, strict=False):
            yield first, end - first, replace(self, task=text, caption=text, parts=())


@dataclass(frozen=True)
class SkippedRecording:
    """A recording that the source promises but that cannot be used; `frames` is the promised count.

    `later_tasks` are the task texts of its later parts.
    """

    name: str
    camera: str
    task: str
    caption: str
    frames: int
    fps: float | None
    reason: str
    session: str = ""
    later_tasks: tuple[str, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task text, in order."""
        return self.task, *self.later_tasks


@dataclass(frozen=True)
class Problem:
    """A contradiction in a source. `camera` is "" if it concerns all cameras, `episode` is "" if all episodes.

    An error means that frames, states and actions may not belong together; a warning does not. A recording that the
    problem makes unusable is also a SkippedRecording.
    """

    level: Literal["warning", "error"]
    where: str
    what: str
    camera: str = ""
    episode: str = ""
