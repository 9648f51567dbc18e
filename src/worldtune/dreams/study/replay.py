"""Action replay: execute labels from the simulator state that their video began in.

Labels that fail here cannot be expected to teach the task. True labels that fail mean that the task is not testable.

Shape letters: T frames, I intervals, S numbers of a state, D numbers of a command.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from worldtune.core.files import write_json
from worldtune.core.strict_io import read_json_object
from worldtune.dreams.dream_set import DreamSet
from worldtune.dreams.idm.labels_file import read_labels
from worldtune.dreams.making.worker import LABELS
from worldtune.dreams.study.folder import StudyFolder
from worldtune.dreams.study.settings import StudySettings
from worldtune.dreams.study.true_clips import true_clips
from worldtune.policy.simulation.replay import replay_commands, replay_path
from worldtune.policy.spec import PolicySpec
from worldtune.sim.tasks import TASKS
from worldtune.sim.views import VIEWS

if TYPE_CHECKING:
    from worldtune.sim.scene import Scene

Labeled = tuple[int, np.ndarray, np.ndarray]
"""The layout seed, the states (T, S) and the commands (I, D) of one video."""


def run_replay(settings: StudySettings, folder: StudyFolder, task: str) -> dict[str, float]:
    """Return the success of each kind of labels: true ones, and after the first draw those of the IDM."""
    path = folder.replay(task)
    found = read_json_object(path) if path.is_file() else {}
    missing = {kind: labeled for kind, labeled in _labels(settings, folder, task).items() if kind not in found}
    if missing:
        from worldtune.sim.scene import Scene

        with Scene(TASKS[task], VIEWS[settings.view]) as scene:
            found |= {kind: replay_rate(settings.policy, scene, labeled) for kind, labeled in missing.items()}
        write_json(path, found)
    return found


def replay_rate(spec: PolicySpec, scene: "Scene", labeled: Iterable[Labeled]) -> float:
    """Return the success of labels that are executed as a policy of `spec` acts."""
    done = [
        replay_path(scene, seed, states_TS, commands_ID[:, -1], spec.gain)
        if spec.output == "displacement"
        else replay_commands(scene, seed, commands_ID)
        for seed, states_TS, commands_ID in labeled
    ]
    return sum(done) / len(done)


def _labels(settings: StudySettings, folder: StudyFolder, task: str) -> dict[str, list[Labeled]]:
    """Return the labels of each kind that exists."""
    seeds = folder.reset_seeds()[task]
    clips = true_clips(folder, task, settings.view)
    labels = {"true": [(seed, clip.states_TS, clip.commands_ID) for seed, clip in zip(seeds, clips, strict=True)]}
    if not folder.figures(0).is_file():
        return labels
    for kind in ("video", "codec"):
        labels[f"{kind}-idm"] = _read(seeds, [folder.labels(0, kind, clip.episode) for clip in clips])
    by_episode = {clip.episode: seed for seed, clip in zip(seeds, clips, strict=True)}
    for arm in settings.dream_arms:
        dreams = DreamSet(folder.dreams(0, arm))
        rows = [row for row in dreams.ledger if row.episode in by_episode]
        files = [dreams.folder / LABELS / f"{row.name}.npz" for row in rows]
        labels[arm] = _read([by_episode[row.episode] for row in rows], files)
    return labels


def _read(seeds: Sequence[int], files: Sequence[Path]) -> list[Labeled]:
    found = []
    for seed, file in zip(seeds, files, strict=True):
        labels = read_labels(file)
        assert labels.states_TS is not None
        found.append((seed, labels.states_TS, labels.commands_ID))
    return found
