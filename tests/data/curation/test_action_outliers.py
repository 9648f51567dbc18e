"""Outlying actions in generated recordings, and rare ones that are kept. Shapes: T frames, A action dimensions."""

import re
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worldtune.data.curation.action_outliers import MIN_RECORDINGS, find_action_outliers
from worldtune.data.curation.trajectories import trace_actions

T, JOINTS, GRIPPER, FINGER = 80, 4, 4, 5


def recording(seed: int) -> np.ndarray:
    """Return (80, 6): four joints that move smoothly and pause, a gripper that closes once, and a still finger."""
    draw, at = np.random.default_rng(seed), np.linspace(0, 1, T)
    reach = np.array([0.6, 1.0, 1.4, 0.8])
    pace, begin = draw.uniform(0.8, 1.2, JOINTS), draw.normal(0, 0.1, JOINTS)
    joints = [(1 + d) + reach[d] * np.sin(begin[d] + 2 * np.pi * pace[d] * np.maximum(at - 0.1, 0)) for d in range(4)]
    gripper = (at > draw.uniform(0.3, 0.7)).astype(float)
    return np.stack([*joints, gripper, 0 * at], axis=1).astype(np.float32)


def told_of(
    recordings: list[np.ndarray], states: list[np.ndarray] | None = None, frames: int = 20
) -> dict[tuple[int, int], str]:
    """Return {(recording, first frame): reason} of all rejected clips of that length."""
    names, trajectories, excursions = [], [], []
    for number, actions_TA in enumerate(recordings):
        traced = trace_actions(str(number), actions_TA, states[number] if states else None)
        for first in range(0, len(actions_TA) - frames + 1, frames):
            names.append((number, first))
            trajectories.append(traced.trajectory if traced else None)
            excursions.append(traced.extremes(first, first + frames - 1) if traced else None)
    reported = find_action_outliers(trajectories, excursions)
    return {name: what for name, what in zip(names, reported, strict=True) if what}


def many(count: int = 12) -> list[np.ndarray]:
    return [recording(seed) for seed in range(count)]


@pytest.mark.parametrize("count", [MIN_RECORDINGS, 12, 60])
def test_similar_recordings_have_no_outliers(count: int) -> None:
    assert told_of(many(count)) == {}


def finger_moves(actions_TA: np.ndarray) -> None:
    actions_TA[30:50, FINGER] = np.sin(np.linspace(0, np.pi, 20))


def finger_snaps(actions_TA: np.ndarray) -> None:
    actions_TA[30:33, FINGER] = 1


def gripper_opens_again(actions_TA: np.ndarray) -> None:
    actions_TA[:, GRIPPER] = 0
    actions_TA[20:23, GRIPPER] = 1


def robot_waits(actions_TA: np.ndarray) -> None:
    """Hold all joints for a while, then continue from where they were."""
    actions_TA[40:] = actions_TA[25 : 25 + T - 40]
    actions_TA[25:40] = actions_TA[25]


def robot_rests(actions_TA: np.ndarray) -> None:
    actions_TA[:] = actions_TA[0]


@pytest.mark.parametrize("rare", [finger_moves, finger_snaps, gripper_opens_again, robot_waits, robot_rests])
def test_rare_actions_are_not_outliers(rare: Callable[[np.ndarray], None]) -> None:
    recordings = many()
    rare(recordings[5])
    assert told_of(recordings) == {}


@pytest.mark.parametrize("size", [1.5, 3, 50, 1e6, 1e30])
@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("sign", [-1, 1])
def test_spike_rejects_its_clip_with_a_reason(size: float, width: int, sign: int) -> None:
    recordings = many()
    recordings[7][45 : 45 + width, 2] += sign * size
    reported = told_of(recordings)
    assert list(reported) == [(7, 40)]
    found = re.fullmatch(r"dimension 2 leaves its path by (\S+) at frame (\d+), above 0\.7", reported[7, 40])
    assert found, reported
    assert float(found[1]) == pytest.approx(size, abs=0.25)
    assert int(found[2]) in range(45, 45 + width)


def test_lasting_far_value_is_an_outlier() -> None:
    recordings = many()
    recordings[3][60:, 1] = 40
    reported = told_of(recordings)
    assert list(reported) == [(3, 60)]
    assert reported[3, 60].startswith("dimension 1 is 40 at frame 60, above ")


def test_leap_after_a_hold_is_an_outlier() -> None:
    recordings = many()
    recordings[2][24:42] = recordings[2][24]
    reported = told_of(recordings)
    assert list(reported) == [(2, 40)]
    assert reported[2, 40].startswith("4 of 4 dimensions leap at frame 42 after a hold; limit 1")


@pytest.mark.parametrize(("by", "back"), [(180 / np.pi, "π/180"), (np.pi / 180, "180/π"), (1000, "1/1000")])
def test_recording_in_another_unit_is_reported(by: float, back: str) -> None:
    recordings = many()
    recordings[4][:, :JOINTS] *= by
    reported = told_of(recordings)
    assert {number for number, _ in reported} == {4}
    assert len(reported) == 4
    assert f"multiplied by {back}, the actions are like the other recordings" in reported[4, 0]


def test_states_reveal_another_unit() -> None:
    recordings = many(5)
    states = [actions_TA + 0.01 for actions_TA in recordings]
    recordings[4] = recordings[4] / 7
    reported = told_of(recordings, states)
    assert {number for number, _ in reported} == {4}
    assert "4 of 5 dimensions do not follow the states" in reported[4, 0]


@pytest.mark.parametrize("with_states", [True, False])
def test_swapped_columns_are_named(with_states: bool) -> None:
    recordings = many()
    states = [actions_TA + 0.01 for actions_TA in recordings] if with_states else None
    recordings[6][:, [1, 3]] = recordings[6][:, [3, 1]]
    reported = told_of(recordings, states)
    assert {number for number, _ in reported} == {6}
    assert reported[6, 0].startswith("dimensions 1 and 3 are swapped")


def test_column_swapped_with_one_that_follows_no_state_is_found() -> None:
    recordings = many()
    states = [actions_TA * [1, 1, 1, 1, 0, 1] - [0, 0, 0, 0, 9, 0] for actions_TA in recordings]
    assert told_of(recordings, states) == {}
    recordings[6][:, [1, 4]] = recordings[6][:, [4, 1]]
    assert told_of(recordings, states)[6, 0].startswith("dimensions 1 and 4 are swapped")


def test_few_recordings_have_no_outliers() -> None:
    recordings = many(MIN_RECORDINGS - 1)
    recordings[0][45, 2] = 1e6
    assert told_of(recordings) == {}


def test_recordings_are_compared_by_dimension() -> None:
    recordings = many(5) + [recording(seed)[:, :3] for seed in range(5)]
    recordings[8][45, 2] = 1e6
    assert list(told_of(recordings)) == [(8, 40)]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.sampled_from(["uniform", "gripper", "brake", "steps"]), st.integers(MIN_RECORDINGS, 60))
def test_similar_random_commands_are_not_outliers(seed: int, kind: str, count: int) -> None:
    draw = np.random.default_rng(seed)
    made = {
        "uniform": lambda: draw.uniform(-1, 1, (40, 3)),
        "gripper": lambda: (draw.random((40, 3)) < 0.1).astype(float),
        "brake": lambda: -(draw.random((40, 3)) < 0.1).astype(float),
        "steps": lambda: draw.integers(-1, 2, (5, 3)).repeat(8, 0).astype(float),
    }[kind]
    assert told_of([made().astype(np.float32) for _ in range(count)]) == {}
