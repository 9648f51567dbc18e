"""Write dreams as a LeRobot dataset with actions, and with the lineage of every episode.

Shapes: T frames, H×W pixels, C colors, D numbers of a command, S numbers of a state, A numbers of a row of `action`,
I = T − 1 frame intervals.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from worldtune.core.actions.space import ActionSpace
from worldtune.data.camera_grid import Layout, grid_cameras, grid_name, split_grid
from worldtune.data.columns import ACTION, IS_SYNTHETIC, STATE
from worldtune.data.export.lerobot_info import ColumnInfo, Robot
from worldtune.data.export.lerobot_writer import AnnotatedEpisode, EpisodeFrames, check_replaceable, write_lerobot
from worldtune.data.sources.lerobot.layouts import Groups, Version
from worldtune.errors import DataError

Outcome = Literal["success", "failure", "rare"]
OUTCOME = "outcome"
LINEAGE = ("adapter", "base", "prompt", "seed", "idm", "critics", "first_frame")
"""What the lineage of a dream must name: digests of the adapter's card ("" for the base alone), the base, the inverse
dynamics model and the critics ("" for none); the prompt and the seed; and the origin of the first frame."""
MAY_BE_EMPTY = ("adapter", "critics")
ACTION_SPACE = "action_space"
READ_FROM_VIDEO = "read from the generated video by an inverse dynamics model"
LAST_FRAME = "the last frame of a dream has no row, because the action after it cannot be seen"


@dataclass(frozen=True, eq=False)
class LabeledEpisode:
    """A dream of T frames with its labels; `states_TS` is None if they cannot be read.

    `commands_ID` is the mean command of each of the I = T − 1 frame intervals. `lineage` has the keys of `LINEAGE`,
    and may have more. `outcome` is what the instruction asked for.
    """

    frames_THWC: npt.NDArray[np.uint8]
    states_TS: npt.NDArray[np.float32] | None
    commands_ID: npt.NDArray[np.float32]
    task: str
    lineage: Mapping[str, str]
    outcome: Outcome = "success"


@dataclass(frozen=True)
class ExportedDreams:
    """The dataset that was written; `other_outcomes` dreams were left out, because they show another outcome."""

    folder: Path
    episodes: int
    frames: int
    other_outcomes: int


def export_dreams(
    episodes: Iterable[LabeledEpisode],
    out: str | Path,
    *,
    fps: float,
    robot: Robot,
    camera: str | Layout,
    action_space: ActionSpace,
    version: Version = "v3.0",
    groups: Groups | None = None,
    outcome: Outcome = "success",
) -> ExportedDreams:
    """Write dreams as a LeRobot dataset: frames, states, actions, task texts, and statistics of their own.

    A dream of T frames becomes T − 1 rows. A row of `action` repeats the interval's mean command for each of the
    `commands_per_frame` of `action_space`; info.json says so. `camera` is the column of the frames, such as
    "observation.images.scene", or the rows of cameras of which the frames are tiled; these are written as one video
    each. Every row has `is_synthetic`, every entry of the list of episodes `outcome` and `lineage/NAME`. Version 2.1
    also gets GR00T's modality.json, in which `groups` name parts of states and actions.

    A dataset holds one `outcome`, so that a policy never learns a failure as a success; other dreams are left out.
    Episodes are read one at a time. The dataset appears only when it is complete, and replaces an older one at `out`.

    Raises:
        DataError: All dreams were rejected or show another outcome; a dream's labels do not fit its frames or the
            action space; some dreams have states and some have not; a lineage is incomplete; or `out` is a folder
            that is not a dataset.
    """
    folder = Path(out)
    check_replaceable(folder)
    chosen = _Chosen(episodes, outcome)
    rows = (_annotated(number, episode, camera, action_space) for number, episode in enumerate(chosen))
    if (first := next(rows, None)) is None:
        raise _nothing_error(chosen, outcome, folder)
    info = _column_info(camera, action_space, first.states_TS is not None)
    cameras = camera if isinstance(camera, str) else grid_cameras(camera)
    write_lerobot(folder, chain([first], rows), fps, robot, cameras, version, groups, info)
    return ExportedDreams(folder, chosen.episodes, chosen.frames, chosen.other_outcomes)


class _Chosen:
    """The dreams of one outcome, with counts of those seen so far."""

    def __init__(self, episodes: Iterable[LabeledEpisode], outcome: Outcome) -> None:
        self._all, self._outcome = episodes, outcome
        self.episodes = self.frames = self.other_outcomes = 0

    def __iter__(self) -> Iterator[LabeledEpisode]:
        for episode in self._all:
            if episode.outcome != self._outcome:
                self.other_outcomes += 1
                continue
            self.episodes += 1
            self.frames += len(episode.commands_ID)
            yield episode


def _nothing_error(chosen: _Chosen, outcome: Outcome, folder: Path) -> DataError:
    if chosen.other_outcomes:
        what = f"none of the {chosen.other_outcomes} kept dreams shows the outcome '{outcome}'"
        return DataError(what, where=str(folder), hint="Export another outcome, into a dataset of its own.")
    what = "all dreams were rejected, so there is nothing to export"
    return DataError(
        what, where=str(folder), hint="Read the reasons in the ledger; correct the critics or the adapter."
    )


def _annotated(number: int, dream: LabeledEpisode, camera: str | Layout, space: ActionSpace) -> AnnotatedEpisode:
    """Return the rows of a dream: all frames but the last."""
    where = f"dream {number}"
    intervals = len(dream.frames_THWC) - 1
    states_TS = dream.states_TS
    lengths = len(dream.commands_ID), len(states_TS) if states_TS is not None else intervals + 1
    if lengths != (intervals, intervals + 1) or intervals < 1:
        what = f"{intervals + 1} frames have {lengths[0]} commands and {lengths[1]} states"
        raise DataError(what, where=where, hint="Label T frames with T − 1 commands and T states.")
    _check_lineage(dream.lineage, where)
    actions_IA = space.spread_evenly(dream.commands_ID)
    space.command_size(actions_IA.shape[1], where)
    frames_IHWC = dream.frames_THWC[:-1]
    frames: EpisodeFrames = frames_IHWC if isinstance(camera, str) else split_grid(frames_IHWC, camera)
    return AnnotatedEpisode(
        frames,
        None if states_TS is None else states_TS[:-1],
        actions_IA,
        dream.task,
        {IS_SYNTHETIC: np.ones(intervals, bool)},
        {OUTCOME: dream.outcome} | {f"lineage/{name}": text for name, text in dream.lineage.items()},
    )


def _check_lineage(lineage: Mapping[str, str], where: str) -> None:
    if missing := [name for name in LINEAGE if name not in lineage]:
        raise DataError(f"its lineage does not name {', '.join(missing)}", where=where, hint="Name all models.")
    if empty := [name for name in LINEAGE if not lineage[name].strip() and name not in MAY_BE_EMPTY]:
        raise DataError(f"{empty[0]} is empty in its lineage", where=where, hint="Write digest, prompt and origin.")


def _column_info(camera: str | Layout, space: ActionSpace, has_states: bool) -> ColumnInfo:
    """Return what info.json says of the columns beyond lerobot's own keys."""
    command = "the mean command of the frame interval after the row's frame"
    if space.commands_per_frame > 1:
        command = f"{space.commands_per_frame} commands, each of which is {command}"
    info: dict[str, dict[str, Any]] = {
        ACTION: {
            ACTION_SPACE: space.model_dump(mode="json"),
            "content": f"{command}, {READ_FROM_VIDEO}",
            "last_frame": LAST_FRAME,
        }
    }
    if has_states:
        info[STATE] = {"content": READ_FROM_VIDEO}
    if not isinstance(camera, str):
        cells = [(r, c, name) for r, row in enumerate(camera) for c, name in enumerate(row) if name]
        info |= {name: {"tiled_in": grid_name(camera), "row": r, "column": c} for r, c, name in cells}
    return info
