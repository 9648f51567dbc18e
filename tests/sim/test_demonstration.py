"""A real, rendered demonstration: the time base, the commands and the result."""

import os

import numpy as np
import pytest

os.environ.setdefault("MUJOCO_GL", "osmesa")
mujoco = pytest.importorskip("mujoco", reason="the extra 'sim' is not installed", exc_type=ImportError)

from worldtune.sim.clip_format import FRAMES, STEPS_PER_FRAME  # noqa: E402
from worldtune.sim.demonstration import SETTLE_STEPS, Demonstration, open_scene, perform  # noqa: E402
from worldtune.sim.tasks import TASKS  # noqa: E402
from worldtune.sim.views import MOUNTED, VIEWS  # noqa: E402


@pytest.fixture(scope="module")
def demonstrations() -> list[Demonstration]:
    task = TASKS["button-press"]
    env = open_scene(task)
    with mujoco.Renderer(env.model, 128, 128) as renderer:
        found = [perform(env, task, VIEWS["left"], MOUNTED, seed, renderer) for seed in (11, 11, 12)]
    assert None not in found
    return [demo for demo in found if demo is not None]


def test_demonstration_has_21_frames_with_five_commands_each(demonstrations: list[Demonstration]) -> None:
    demo = demonstrations[0]
    assert demo.frames.shape == (FRAMES, 64, 64, 3)
    assert demo.frames.dtype == np.uint8
    assert demo.states.shape == (FRAMES, 4)
    assert demo.actions.shape == (FRAMES, STEPS_PER_FRAME, 4)
    assert np.abs(demo.actions).max() <= 1
    assert demo.prompt == "Seen from the left: the robot arm presses the button on the wall box."


def test_layout_depends_on_the_seed(demonstrations: list[Demonstration]) -> None:
    first, again, other = demonstrations
    assert np.array_equal(first.states, again.states)
    assert np.array_equal(first.actions, again.actions)
    assert not np.array_equal(first.states, other.states)


def test_expert_succeeds_and_then_stops(demonstrations: list[Demonstration]) -> None:
    demo = demonstrations[0]
    commands = demo.actions.reshape(-1, 4)
    hold = demo.success_step + SETTLE_STEPS
    assert 0 <= demo.success_step < (FRAMES - 1) * STEPS_PER_FRAME
    assert np.array_equal(commands[hold:, :3], np.zeros_like(commands[hold:, :3]))
    assert np.abs(commands[: demo.success_step, :3]).max() > 0.1
    assert np.abs(demo.states[-1, :3] - demo.states[-2, :3]).max() < 0.01


def test_arm_moves_in_the_frames(demonstrations: list[Demonstration]) -> None:
    demo = demonstrations[0]
    changed = np.abs(demo.frames[10].astype(int) - demo.frames[0]).max(-1) > 30
    assert 0.01 < changed.mean() < 0.6
