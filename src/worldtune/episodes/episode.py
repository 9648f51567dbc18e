"""What a source yields before windows are cut: one camera's recording of one episode, or why there is none."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np


@dataclass(frozen=True, eq=False)
class Episode:
    """One camera's recording of one episode, its frames still on disk.

    The frames are `video_start` … `video_start + frames - 1` of `video`, at `fps`, height × width
    pixels; all of them decode. states (T, S) and actions (T, A) are float32, or None when the
    source has none. `note` is what the reader of a ledger should know.
    """

    name: str
    camera: str
    task: str
    caption: str
    video: Path
    video_start: int
    frames: int
    fps: float
    height: int
    width: int
    states: np.ndarray | None = None
    actions: np.ndarray | None = None
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


@dataclass(frozen=True)
class Problem:
    """A contradiction in a source; `camera` is "" when it concerns all of them.

    An error means that frames, states and actions cannot be trusted to belong together; a warning
    does not (what it makes unusable is a lost recording besides).
    """

    level: Literal["warning", "error"]
    where: str
    what: str
    camera: str = ""
