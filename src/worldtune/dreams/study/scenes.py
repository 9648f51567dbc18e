"""Render a study's demonstrations and resets as LeRobot datasets, by the simulator's scripted experts."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from worldtune.core.actions.space import ActionSpace
from worldtune.core.progress import Progress, silent
from worldtune.data.export.lerobot_info import Robot
from worldtune.data.export.lerobot_writer import write_lerobot
from worldtune.errors import UserError, did_you_mean
from worldtune.policy.simulation.simulator import check_simulator
from worldtune.sim.clip_format import FPS, scene_prompt
from worldtune.sim.seeds import seed_block
from worldtune.sim.tasks import TASKS
from worldtune.sim.views import VIEWS

CAMERA = "observation.images.scene"
STATE_NAMES = ("hand.x", "hand.y", "hand.z", "gripper")
ACTION_NAMES = tuple(f"step{step}.{name}" for step in range(5) for name in ("dx", "dy", "dz", "gripper"))
ACTION_SPACE = ActionSpace(kind="delta", commands_per_frame=5, state_columns=(0, 1, 2, None))


def check_names(tasks: Sequence[str], view: str) -> None:
    """Raise UserError if a task or the view is unknown, or the simulator is missing."""
    for names, known, kind in ((tasks, TASKS, "task"), ([view], VIEWS, "view")):
        for name in names:
            if name not in known:
                hint = did_you_mean(name, known, f"Use one of {', '.join(known)}.")
                raise UserError(f"no {kind} {name!r}", where="dream-study", hint=hint)
    check_simulator()


def render(
    folder: Path, tasks: Sequence[str], view: str, count: int, seeds: range, draw: int, progress: Progress = silent
) -> dict[str, list[int]]:
    """Write `count` demonstrations of each task, seen from the fixed camera `view`, with the seeds of one draw.

    Return the layout seeds of each task.
    """
    used: dict[str, list[int]] = {task: [] for task in tasks}

    def episodes() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, str]]:
        from worldtune.sim.scene import Scene

        for done, task in enumerate(tasks):
            progress(done, len(tasks), task)
            with Scene(TASKS[task], VIEWS[view]) as scene:
                for demo in scene.demonstrate(seed_block(seeds, draw), count):
                    used[task].append(demo.seed)
                    yield demo.frames, demo.states, demo.actions.reshape(len(demo.frames), -1), demo.prompt

    write_lerobot(folder, episodes(), FPS, Robot("sawyer", STATE_NAMES, ACTION_NAMES), CAMERA)
    return used


def prompt_of(task: str, view: str) -> str:
    """Return the prompt of a task in a view."""
    return scene_prompt(TASKS[task], VIEWS[view])
