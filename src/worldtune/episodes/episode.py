"""What a source yields before windows are cut: one camera's recording of one episode, or why there is none."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from worldtune.episodes.footage import Footage


@dataclass(frozen=True, eq=False)
class Episode:
    """One camera's recording of one episode, its frames still on disk.

    It has `frames` frames, at `fps`, height × width pixels; all of them decode. `times` (T,) are their seconds where
    they are not evenly spaced; `jumps` are the frames after which nothing was recorded for so many seconds. states
    (T, S) and actions (T, A) are float32, or None when the source has none.
    `session` and `robot` are "" when unknown. `note` is what the reader of a ledger should know.
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
    jumps: tuple[tuple[int, float], ...] = ()
    session: str = ""
    robot: str = ""
    note: str = ""


@dataclass(frozen=True)
class Lost:
    """A recording that the source promises and that cannot be used; `frames` is the promised count."""

    name: str
    camera: str
    task: str
    caption: str
    frames: int
    fps: float | None
    reason: str
    session: str = ""


@dataclass(frozen=True)
class Problem:
    """A contradiction in a source; `camera` is "" when it concerns all of them, `episode` too.

    An error means that frames, states and actions cannot be trusted to belong together; a warning
    does not (what it makes unusable is a lost recording besides).
    """

    level: Literal["warning", "error"]
    where: str
    what: str
    camera: str = ""
    episode: str = ""
