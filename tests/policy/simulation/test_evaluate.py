"""Closed-loop evaluation with policies whose behavior is known: they replay a demonstration, or stand still."""

from dataclasses import dataclass

import numpy as np
import pytest

from worldtune.errors import DataError
from worldtune.policy.protocol import Control, Observation
from worldtune.policy.simulation.evaluate import evaluate_policies, run_episode
from worldtune.policy.simulation.replay import replay_commands, replay_path
from worldtune.sim.demonstration import Demonstration
from worldtune.sim.scene import Scene


@dataclass
class Replaying:
    """A policy that returns the rows of a demonstration in turn, and keeps what it saw."""

    rows: np.ndarray
    control: Control
    asked: int = 0

    def reset(self) -> None:
        self.asked = 0
        self.seen: list[Observation] = []

    def act(self, observation: Observation) -> np.ndarray:
        self.seen.append(observation)
        start = self.asked * self.control.executed
        self.asked += 1
        return self.rows[start : start + self.control.executed]


def displacement_rows(demo: Demonstration) -> np.ndarray:
    return np.concatenate([np.diff(demo.states[:, :3], axis=0), demo.actions.mean(1)[:-1, 3:]], axis=1)


def test_replayed_demonstrations_succeed_and_a_still_policy_fails(
    scene: Scene, demonstrations: list[Demonstration]
) -> None:
    demo = demonstrations[0]
    policies = {
        "mean commands": Replaying(demo.actions.mean(1), Control("command")),
        "all commands, two intervals at a time": Replaying(demo.actions.reshape(-1, 20), Control("command", 60, 2)),
        "displacements": Replaying(displacement_rows(demo), Control("displacement", 60)),
        "still": Replaying(np.zeros((21, 4)), Control("command")),
    }
    found = evaluate_policies(policies, scene, [demo.seed], intervals=20)
    assert found.policies == tuple(policies)
    assert found.success_PR[:, 0].tolist() == [True, True, True, False]
    assert found.intervals_PR[1, 0] == demo.success_step // 5 + 1
    assert found.intervals_PR[3, 0] == 20


def test_policy_sees_the_scene_before_each_of_its_chunks(scene: Scene, demonstrations: list[Demonstration]) -> None:
    demo = demonstrations[0]
    policy = Replaying(demo.actions.reshape(-1, 20), Control("command", executed=3))
    assert run_episode(scene, policy, demo.seed, 7, "replay") == (False, 7)
    assert len(policy.seen) == 3
    for seen, t in zip(policy.seen, (0, 3, 6), strict=True):
        assert np.array_equal(seen.frame_HWC, demo.frames[t])
        assert np.array_equal(seen.first_HWC, demo.frames[0])
        assert np.array_equal(seen.state_S, demo.states[t])
        assert seen.prompt == demo.prompt


def test_hand_follows_displacements_from_where_it_is(scene: Scene, demonstrations: list[Demonstration]) -> None:
    demo = demonstrations[0]
    rows = np.tile([0.03, 0.0, 0.0, -1.0], (4, 1))
    policy = Replaying(rows, Control("displacement", 60.0, executed=4))
    run_episode(scene, policy, demo.seed, 4, "right")
    moved = scene.control(lambda state_S: np.array([0, 0, 0, -1.0])).state_S - demo.states[0]
    assert moved[0] == pytest.approx(0.12, abs=0.02)
    assert abs(moved[1]) < 0.02


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((1, 7)), r"actions of shape \(1, 7\)"),
        (np.zeros((0, 4)), r"actions of shape \(0, 4\)"),
        (np.full((1, 4), np.nan), "NaN or infinity"),
    ],
)
def test_actions_that_the_scene_cannot_execute_are_an_error(scene: Scene, rows: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        run_episode(scene, Replaying(rows, Control("command")), 30_000_000, 3, "mine")
    assert error.value.where == "mine"


def test_true_labels_succeed_and_those_of_another_layout_fail(
    scene: Scene, demonstrations: list[Demonstration]
) -> None:
    demo = demonstrations[0]
    gripper_I = demo.actions.mean(1)[:, 3]
    assert replay_commands(scene, demo.seed, demo.actions.mean(1))
    assert replay_commands(scene, demo.seed, demo.actions.reshape(-1, 20))
    assert replay_path(scene, demo.seed, demo.states, gripper_I, 60)
    assert not replay_commands(scene, demo.seed, -demo.actions.mean(1))
    assert not replay_path(scene, demo.seed, demo.states[::-1], gripper_I, 60)
