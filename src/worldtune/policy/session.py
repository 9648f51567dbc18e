"""Train a policy on LeRobot datasets, and save it with the lineage of every episode."""

from collections.abc import Sequence
from pathlib import Path

from worldtune.core.actions.space import ActionSpace
from worldtune.core.progress import Progress, silent
from worldtune.errors import DataError
from worldtune.policy.folder import SavedPolicy, check_replaceable, save_policy
from worldtune.policy.spec import PolicySpec
from worldtune.policy.training.dataset import EpisodeSet, read_episodes
from worldtune.policy.training.train import train_policy


def train_on_datasets(
    real: str,
    synthetic: Sequence[str],
    folder: Path,
    spec: PolicySpec,
    action_space: ActionSpace,
    task: str | None = None,
    camera: str | None = None,
    progress: Progress = silent,
) -> SavedPolicy:
    """Train a policy on a real dataset and synthetic ones, and write it to `folder`.

    Raise DataError if a dataset cannot be used, is of the other kind, or has another task or frame rate.
    """
    check_replaceable(folder)
    first = read_episodes(real, action_space, task, camera)
    if first.is_synthetic:
        raise DataError("the real dataset is synthetic: it has is_synthetic", where=real, hint="Name the real one.")
    others = [_read_synthetic(path, action_space, first, camera) for path in synthetic]
    episodes = [*first.episodes, *(episode for other in others for episode in other.episodes)]
    policy, losses = train_policy(episodes, spec, progress)
    return save_policy(folder, policy, episodes, losses, action_space, first.fps)


def _read_synthetic(path: str, space: ActionSpace, real: EpisodeSet, camera: str | None) -> EpisodeSet:
    found = read_episodes(path, space, real.task, camera)
    if not found.is_synthetic:
        hint = "Export it with worldtune, or join it to the real dataset."
        raise DataError("the synthetic dataset has no column is_synthetic", where=path, hint=hint)
    if found.fps != real.fps:
        what = f"it has {found.fps:g} frames per second, the real dataset {real.fps:g}"
        raise DataError(what, where=path, hint="Generate at the real dataset's rate.")
    return found
