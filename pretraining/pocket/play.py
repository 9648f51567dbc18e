"""Render play: motions without a goal, seen from above: `python play.py OUT`.

The hand goes to random waypoints. Several motions begin at the same start: same scene, same camera, same first frame.
From such clips a model can learn that the actions decide what happens, which experts never show. The datasets
`OUT/pocket-play` and `OUT/pocket-play-held-out` have the columns of the other built-in datasets.
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("MUJOCO_GL", "osmesa")
os.environ.setdefault("LP_NUM_THREADS", "1")

import mujoco
import numpy as np

from domain import NEW_VIEW, NEW_VIEW_TASKS, SIZE
from package import ACTION_NAMES, STATE_NAMES
from worldtune.data.export.lerobot_writer import Robot, write_lerobot
from worldtune.sim.clip_format import FPS, FRAMES, STEPS_PER_FRAME
from worldtune.sim.demonstration import film, open_scene, place_camera
from worldtune.sim.tasks import TASKS
from worldtune.sim.views import MOUNTED, VIEWS

PROMPT = "Seen from above: the robot arm moves freely."
LOW, HIGH = (-0.32, 0.45, 0.06), (0.32, 0.86, 0.32)  # of the waypoints, in meters
GAIN = 10.0  # command per meter of distance, as Meta-World's experts
SPEED = (0.5, 1.0)  # largest command on the way to a waypoint
STEPS = (20, 50)  # control steps on the way to a waypoint
COMMAND_NOISE = 0.1  # standard deviation, in units of the command range [-1, 1]

Episode = tuple[np.ndarray, np.ndarray, np.ndarray, str]


@dataclass(frozen=True)
class PlaySet:
    """A dataset of play: for each task `single` starts with one motion, and `shared` starts with `motions` each."""

    name: str
    first_seed: int
    single: int
    shared: int
    motions: int = 3


PLAY_SETS = (
    PlaySet("pocket-play", 9_000_000, single=6, shared=2),
    PlaySet("pocket-play-held-out", 9_500_000, single=0, shared=1),
)


def play(env: Any, start: int, motion: int, renderer: mujoco.Renderer) -> Episode:
    """Return one motion from the scene and camera of seed `start`: frames, states, actions and prompt."""
    camera = place_camera(VIEWS[NEW_VIEW].moved(MOUNTED, np.random.default_rng([start, 7])))
    rng = np.random.default_rng([start, motion, 11])
    env.seed(start)
    observation, _ = env.reset()
    frames, states, actions = [], [], np.zeros((FRAMES, STEPS_PER_FRAME, 4), np.float32)
    left = 0
    for step in range(FRAMES * STEPS_PER_FRAME):
        index, sub = divmod(step, STEPS_PER_FRAME)
        if sub == 0:
            frames.append(film(renderer, env.data, camera))
            states.append(observation[:4].astype(np.float32))
        if left == 0:
            target, left = rng.uniform(LOW, HIGH), int(rng.integers(*STEPS))
            speed, gripper = rng.uniform(*SPEED), float(rng.choice([-1.0, 1.0]))
        left -= 1
        move = np.clip(GAIN * (target - observation[:3]), -speed, speed) + rng.normal(0, COMMAND_NOISE, 3)
        command = np.clip([*move, gripper], -1, 1)
        actions[index, sub] = command
        observation, *_ = env.step(command)
    return np.stack(frames), np.stack(states), actions.reshape(FRAMES, -1), PROMPT


def starts_of(play_set: PlaySet) -> Iterator[tuple[str, int, int]]:
    """Yield (task, seed of the start, motion) of every episode."""
    for number, task in enumerate(NEW_VIEW_TASKS):
        for start in range(play_set.single + play_set.shared):
            seed = play_set.first_seed + 1000 * number + start
            for motion in range(1 if start < play_set.single else play_set.motions):
                yield task, seed, motion


def episodes(play_set: PlaySet) -> Iterator[Episode]:
    """Render the episodes of a set, in the order of `starts_of`."""
    opened, env = "", None
    for task, seed, motion in starts_of(play_set):
        if task != opened:
            env, opened = open_scene(TASKS[task]), task
        assert env is not None
        with mujoco.Renderer(env.model, SIZE * 2, SIZE * 2) as renderer:
            yield play(env, seed, motion, renderer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    for play_set in PLAY_SETS:
        robot = Robot("sawyer", STATE_NAMES, ACTION_NAMES)
        write_lerobot(args.out / play_set.name, episodes(play_set), FPS, robot, "observation.images.scene")
        print(play_set.name, flush=True)


if __name__ == "__main__":
    main()
