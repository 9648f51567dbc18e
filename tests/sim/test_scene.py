"""A closed-loop scene repeats what its seed and commands determine."""

import os
from collections.abc import Iterator

import numpy as np
import pytest

os.environ.setdefault("MUJOCO_GL", "osmesa")
pytest.importorskip("mujoco", reason="the extra 'sim' is not installed", exc_type=ImportError)

from worldtune.sim.scene import Scene
from worldtune.sim.tasks import TASKS
from worldtune.sim.views import MOUNTED, VIEWS, Spread


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Scene(TASKS["button-press"], VIEWS["left"]) as opened:
        yield opened


def test_commands_of_a_demonstration_give_its_frames_and_states(scene: Scene) -> None:
    first, second = scene.demonstrate([11, 12], 2)
    for demo in (second, first):
        seen = scene.reset(demo.seed)
        for index in range(len(demo.frames)):
            assert np.array_equal(seen.frame_HWC, demo.frames[index])
            assert np.array_equal(seen.state_S, demo.states[index])
            assert seen.success == (demo.success_step < index * 5)
            seen = scene.step(demo.actions[index])
    assert scene.prompt == first.prompt


def test_reset_does_not_depend_on_the_episode_before(scene: Scene) -> None:
    with Scene(scene.task, scene.view) as fresh:
        expected = fresh.reset(21)
    scene.reset(22)
    for _ in range(12):
        scene.step(np.full((5, 4), 0.8))
    seen = scene.reset(21)
    assert np.array_equal(seen.frame_HWC, expected.frame_HWC)
    assert np.array_equal(seen.state_S, expected.state_S)
    assert not seen.success


def test_controller_sees_the_state_before_each_control_step(scene: Scene) -> None:
    start = scene.reset(11)
    states: list[np.ndarray] = []

    def command(state_S: np.ndarray) -> np.ndarray:
        states.append(state_S)
        return np.array([3.0, 0.0, 0.0, -1.0])

    end = scene.control(command)
    assert np.array_equal(states[0], start.state_S)
    assert len(states) == 5
    scene.reset(11)
    clipped = scene.step(np.tile([1.0, 0.0, 0.0, -1.0], (5, 1)))
    assert np.array_equal(end.state_S, clipped.state_S)
    assert end.state_S[0] > start.state_S[0]


def test_fixed_camera_shows_the_same_background_for_every_seed(scene: Scene) -> None:
    assert np.array_equal(scene.reset(11).frame_HWC[:4, :4], scene.reset(12).frame_HWC[:4, :4])
    with Scene(scene.task, scene.view, MOUNTED) as remounted:
        assert not np.array_equal(remounted.reset(11).frame_HWC[:4], remounted.reset(12).frame_HWC[:4])


def test_frame_size_is_chosen(scene: Scene) -> None:
    with Scene(scene.task, scene.view, Spread(0, 0, (1, 1)), size=32) as small:
        assert small.reset(11).frame_HWC.shape == (32, 32, 3)


def test_commands_of_another_shape_are_an_error(scene: Scene) -> None:
    scene.reset(11)
    with pytest.raises(ValueError, match=r"shape \(5, 4\), not \(4, 4\)"):
        scene.step(np.zeros((4, 4)))


def test_expert_that_fails_is_reported(scene: Scene) -> None:
    with pytest.raises(RuntimeError, match="button-press: the expert succeeds on 1 of 1 layouts"):
        scene.demonstrate([11], 2)
