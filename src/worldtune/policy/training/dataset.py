"""Training episodes of LeRobot datasets: real ones, and synthetic ones with the lineage that their export wrote.

Shapes: T frames, A numbers of a row of `action`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from worldtune.core.actions.space import ActionSpace
from worldtune.data.columns import ACTION, IS_SYNTHETIC
from worldtune.data.episode import Episode
from worldtune.data.sources import choose_cameras, open_source
from worldtune.data.sources.lerobot.metadata import read_episode_records
from worldtune.data.sources.lerobot.source import LeRobotSource
from worldtune.errors import DataError, did_you_mean
from worldtune.policy.episode import TrainingEpisode

LINEAGE = "lineage/"


@dataclass(frozen=True)
class EpisodeSet:
    """The episodes of one task of a dataset, and its frame rate."""

    episodes: list[TrainingEpisode]
    task: str
    fps: float
    is_synthetic: bool


def read_episodes(path: str, space: ActionSpace, task: str | None = None, camera: str | None = None) -> EpisodeSet:
    """Return the episodes of a dataset, with the mean command of each frame interval.

    `task` is the text of the episodes to use, `camera` the camera; each is needed if the dataset has several. A
    dataset with the column `is_synthetic` is synthetic.

    Raise DataError if the dataset is not in LeRobot's format or has no states or actions, if task or camera are
    unknown, or if its info.json states another action space.
    """
    source = open_source(path)
    if not isinstance(source, LeRobotSource):
        raise DataError(f"not a LeRobot dataset but {source.kind}", where=path, hint="Convert it with lerobot.")
    _check_action_space(source, space)
    synthetic = IS_SYNTHETIC in source.info["features"]
    cameras = choose_cameras(source, None if camera is None else [camera])
    if len(cameras) > 1:
        raise DataError("several cameras", where=path, hint=f"Choose one of {', '.join(cameras)}.")
    chosen = _choose_task(source, task)
    lineage = _lineage(source) if synthetic else {}
    episodes = []
    for recording in source.recordings(cameras):
        if recording.tasks != (chosen,):
            continue
        if not isinstance(recording, Episode):
            raise DataError(f"episode {recording.name}: {recording.reason}", where=path, hint="Repair the dataset.")
        episodes.append(_read(recording, path, space, synthetic, lineage.get(recording.name, {})))
    return EpisodeSet(episodes, chosen, source.fps, synthetic)


def _choose_task(source: LeRobotSource, task: str | None) -> str:
    if task is not None:
        if task not in source.tasks:
            hint = did_you_mean(task, source.tasks, f"It has {len(source.tasks)} tasks.")
            raise DataError(f"no episode has the task {task!r}", where=source.path, hint=hint)
        return task
    if len(source.tasks) != 1:
        what = f"{len(source.tasks)} tasks, but a policy learns one"
        raise DataError(what, where=source.path, hint=f"Choose one with --task, such as {source.tasks[:1]}.")
    return source.tasks[0]


def _check_action_space(source: LeRobotSource, space: ActionSpace) -> None:
    """Raise DataError if the dataset's info.json states another action space."""
    stated = (source.info["features"].get(ACTION, {}).get("info") or {}).get("action_space")
    if stated is not None and stated != space.model_dump(mode="json"):
        what = "its info.json states another action space"
        raise DataError(what, where=source.path, hint="Declare the action space that the dataset was written with.")


def _lineage(source: LeRobotSource) -> dict[str, dict[str, str]]:
    """Return the lineage that the list of episodes has of each, by episode name."""
    return {
        f"{int(record['episode_index']):06d}": {
            name.removeprefix(LINEAGE): str(value) for name, value in record.items() if name.startswith(LINEAGE)
        }
        for record in read_episode_records(source.folder, source.version)
    }


def _read(
    recording: Episode, path: str, space: ActionSpace, synthetic: bool, lineage: dict[str, str]
) -> TrainingEpisode:
    if recording.states is None or recording.actions is None:
        what = f"episode {recording.name} has no {'states' if recording.states is None else 'actions'}"
        raise DataError(what, where=path, hint="Record them, or label the dataset.")
    frames_THWC = np.stack([frame for _, frame in recording.footage.frames(range(recording.frames))])
    actions_TD = space.mean_command(recording.actions)
    name = f"{Path(path).name}/{recording.name}"
    return TrainingEpisode(name, recording.caption, frames_THWC, recording.states, actions_TD, synthetic, lineage)
