"""The episodes that the policies of each arm learn from.

Shape letters: T frames, S numbers of a state.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from worldtune.dreams.dream_set import DreamSet
from worldtune.dreams.export_set import lineage_of
from worldtune.dreams.idm.labels_file import read_labels
from worldtune.dreams.making.worker import LABELS, VIDEOS, read_video
from worldtune.dreams.study.folder import StudyFolder
from worldtune.dreams.study.scenes import ACTION_SPACE, prompt_of
from worldtune.dreams.study.settings import MORE_REAL, Arm, StudySettings
from worldtune.dreams.study.true_clips import codec_frames, true_clips
from worldtune.errors import DataError
from worldtune.policy.episode import TrainingEpisode
from worldtune.policy.training.dataset import read_episodes


def arm_episodes(settings: StudySettings, folder: StudyFolder, task: str, draw: int, arm: Arm) -> list[TrainingEpisode]:
    """Return the real demonstrations of a draw, and the synthetic episodes that the arm adds to them."""
    prompt = prompt_of(task, settings.view)
    if arm in MORE_REAL:
        more = read_episodes(str(folder.more_demonstrations(draw)), ACTION_SPACE, prompt).episodes
        return more[: settings.demonstrations * MORE_REAL[arm]]
    real = read_episodes(str(folder.demonstrations(draw)), ACTION_SPACE, prompt).episodes
    if arm in ("real", "real-once"):
        return real
    if arm in ("oracle", "video-idm", "codec-idm"):
        return [*real, *_true_episodes(settings, folder, task, draw, arm, prompt)]
    source: Arm = "lora" if arm in ("filtered", "shuffled") else arm
    dreams = _dreamed(folder, draw, source, prompt, only_kept=arm == "filtered")
    return [*real, *(shuffle_labels(dreams) if arm == "shuffled" else dreams)]


def _true_episodes(
    settings: StudySettings, folder: StudyFolder, task: str, draw: int, arm: Arm, prompt: str
) -> Iterable[TrainingEpisode]:
    """Yield the true clips of the resets: with true labels, or with the labels that the IDM reads from them."""
    clips = true_clips(folder, task, settings.view)
    frames_NTHWC = codec_frames(folder, task) if arm == "codec-idm" else [clip.frames_THWC for clip in clips]
    for clip, frames_THWC in zip(clips, frames_NTHWC, strict=True):
        states_TS, commands_ID = clip.states_TS, clip.commands_ID
        if arm != "oracle":
            labels = read_labels(folder.labels(draw, arm.removesuffix("-idm"), clip.episode))
            assert labels.states_TS is not None
            states_TS, commands_ID = labels.states_TS, labels.commands_ID
        yield TrainingEpisode(clip.episode, prompt, frames_THWC, states_TS, commands_ID, is_synthetic=True)


def _dreamed(folder: StudyFolder, draw: int, arm: Arm, prompt: str, *, only_kept: bool) -> list[TrainingEpisode]:
    """Return the dreams of a prompt: all, so that arms differ in nothing else, or those that the critics keep.

    Raise DataError if the critics keep none.
    """
    dreams = DreamSet(folder.dreams(draw, arm))
    rows = [row for row in (dreams.kept if only_kept else dreams.ledger) if row.prompt == prompt]
    if not rows:
        raise DataError("the critics keep no dream", where=str(dreams.folder), hint="Leave out the arm 'filtered'.")
    episodes = []
    for row in rows:
        labels = read_labels(dreams.folder / LABELS / f"{row.name}.npz")
        assert labels.states_TS is not None
        frames_THWC = read_video(dreams.folder / VIDEOS / f"{row.name}.mp4")
        episodes.append(
            TrainingEpisode(
                row.name,
                prompt,
                frames_THWC,
                labels.states_TS,
                labels.commands_ID,
                is_synthetic=True,
                lineage=lineage_of(row),
            )
        )
    return episodes


def shuffle_labels(episodes: list[TrainingEpisode]) -> list[TrainingEpisode]:
    """Return the episodes with each other's labels, moved to their own start: same pictures, same set of labels.

    Every label goes to another episode. The order in time stays.
    """
    half = len(episodes) // 2
    others = [*episodes[half:], *episodes[:half]]
    return [
        replace(
            own,
            states_TS=(own.states_TS[0] + other.states_TS - other.states_TS[0]).astype(np.float32),
            actions_ID=other.actions_ID,
        )
        for own, other in zip(episodes, others, strict=True)
    ]
