"""The true clips of a study's resets: what happens in the simulator from the first frames that dreams begin from.

Shape letters: N clips, T frames, I = T − 1 intervals, H×W pixels, C colors, S numbers of a state, D of a command.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from worldtune.core.files import atomic_file
from worldtune.core.progress import Progress, silent
from worldtune.dreams.study.folder import StudyFolder
from worldtune.dreams.study.scenes import ACTION_SPACE, prompt_of
from worldtune.models.load import open_world
from worldtune.policy.training.dataset import read_episodes


@dataclass(frozen=True, eq=False)
class TrueClip:
    """A true clip; `episode` is its name in the dataset of resets."""

    episode: str
    frames_THWC: npt.NDArray[np.uint8]
    states_TS: npt.NDArray[np.float32]
    commands_ID: npt.NDArray[np.float32]


def true_clips(folder: StudyFolder, task: str, view: str) -> list[TrueClip]:
    """Return the true clips of a task, in order."""
    return list(_read(str(folder.resets), prompt_of(task, view)))


@lru_cache(maxsize=8)
def _read(resets: str, prompt: str) -> tuple[TrueClip, ...]:
    found = read_episodes(resets, ACTION_SPACE, prompt)
    return tuple(
        TrueClip(episode.name.rpartition("/")[2], episode.frames_THWC, episode.states_TS, episode.actions_ID[:-1])
        for episode in found.episodes
    )


def write_codec_frames(folder: StudyFolder, task: str, view: str, base: str, progress: Progress = silent) -> None:
    """Write the true clips of a task after the base's codec, if that is missing."""
    if folder.codec(task).is_file():
        return
    world, decoded = open_world(base), []
    clips = true_clips(folder, task, view)
    for done, clip in enumerate(clips, start=1):
        z_BCTHW = world.encode(torch.from_numpy(clip.frames_THWC)[None])
        decoded.append(world.decode(z_BCTHW)[0].numpy())
        progress(done, len(clips), task)
    with atomic_file(folder.codec(task)) as partial, partial.open("wb") as file:
        np.save(file, np.stack(decoded))


def codec_frames(folder: StudyFolder, task: str) -> npt.NDArray[np.uint8]:
    """Return the frames (N, T, H, W, C) of a task's true clips after the base's codec."""
    return np.load(folder.codec(task))
