import numpy as np
import pytest

from worldtune.core.actions.form import ActionForm, Statistics, fit_form
from worldtune.core.actions.space import ActionSpace
from worldtune.errors import DataError

SPACE = ActionSpace(kind="delta", commands_per_frame=2, state_columns=(0, None))
ROWS = np.arange(36, dtype=np.float32).reshape(9, 4) / 10  # (dx, gripper) twice


def form(space: ActionSpace = SPACE) -> ActionForm:
    rng = np.random.default_rng(0)
    recorded = []
    for _ in range(5):
        actions = rng.normal(0, 1, (9, 4)).astype(np.float32)
        x = 3 + 0.5 * np.concatenate([[0], actions[:-1, [0, 2]].sum(1).cumsum()])
        recorded.append((actions, np.stack([x, rng.normal(size=9)], 1).astype(np.float32)))
    return fit_form(space, recorded, "test")


def test_summed_adds_the_deltas_of_all_commands() -> None:
    expected = (ROWS[:, 0] + ROWS[:, 2]).cumsum()
    assert np.allclose(SPACE.summed(ROWS)[:, 0], expected)
    assert SPACE.summed(ROWS).shape == (9, 1)


def test_absolute_actions_and_unnamed_columns() -> None:
    assert ActionSpace(kind="absolute").delta_numbers(3) == ()
    assert ActionSpace(kind="delta").delta_numbers(3) == (0, 1, 2)
    assert form(ActionSpace(kind="absolute", commands_per_frame=2)).sums is None


def test_hold_keeps_the_gripper_and_stops_the_hand() -> None:
    assert SPACE.hold(np.array([1, 2, 3, 4], np.float32)).tolist() == [0, 4, 0, 4]


def test_inputs_of_a_latent_frame_are_its_rows_their_sums_and_the_first_state() -> None:
    read, state = form(), np.array([3.0, 1.0], np.float32)
    assert read.sums is not None
    assert read.states is not None
    inputs_JI = read.encode(ROWS, state, latents=3)
    assert inputs_JI.shape == (3, read.inputs) == (3, 4 * 4 + 4 * 1 + 2)
    assert not inputs_JI[0].any()
    mean, std = np.array(read.actions.mean), np.array(read.actions.std)
    assert np.allclose(inputs_JI[2, :16].reshape(4, 4), (ROWS[4:8] - mean) / std, atol=1e-6)
    sums = (SPACE.summed(ROWS)[4:8] - read.sums.mean[0]) / read.sums.std[0]
    assert np.allclose(inputs_JI[2, 16:20], sums[:, 0], atol=1e-5)
    assert np.allclose(inputs_JI[2, 20:], (state - np.array(read.states.mean)) / np.array(read.states.std), atol=1e-6)


def test_gain_is_measured_and_predicts_a_later_state() -> None:
    read = form()
    assert read.gain == pytest.approx((0.5,), abs=1e-5)
    later = read.next_state(ROWS[:3], np.array([3.0, 1.0], np.float32))
    assert later is not None
    assert later.tolist() == pytest.approx([3 + 0.5 * SPACE.summed(ROWS[:3])[-1, 0], 1.0])


def test_statistics_of_a_constant_column() -> None:
    found = Statistics.of(np.array([[1.0, 5.0], [3.0, 5.0]]))
    assert (found.mean, found.std, found.largest) == ((2.0, 5.0), (1.0, 1.0), (1.0, 0.0))


@pytest.mark.parametrize(
    ("actions", "state", "fault"),
    [
        (ROWS[:, :3], (3, 0), "actions of shape (9, 3) are not rows of 4 numbers"),
        (ROWS[:5], (3, 0), "5 rows of actions do not fit a video of 9 frames"),
        (np.concatenate([ROWS, ROWS]), (3, 0), "18 rows of actions do not fit a video of 9 frames"),
        (ROWS * 100, (3, 0), "standard deviations from the mean of the training data"),
        (np.full((9, 4), np.nan, np.float32), (3, 0), "the actions contains NaN or infinity"),
        (ROWS, None, "the first state is missing"),
        (ROWS, (3, 0, 0), "a state of shape (3,) is not 2 numbers"),
        (ROWS, (3000, 0), "column 0 of the first state reaches 3e+03"),
    ],
)
def test_wrong_actions_are_rejected(actions: np.ndarray, state: tuple[int, ...] | None, fault: str) -> None:
    given = None if state is None else np.array(state, np.float32)
    with pytest.raises(DataError) as error:
        form().check(actions, given, 9, "here")
    assert fault in str(error.value)
    assert "\n" not in str(error.value)


def test_different_columns_are_rejected() -> None:
    with pytest.raises(DataError, match="different numbers of action and state columns: 4 and 0, 6 and 0"):
        fit_form(SPACE, [(ROWS, None), (np.zeros((9, 6), np.float32), None)], "here")


def test_state_columns_must_exist() -> None:
    space = ActionSpace(kind="delta", commands_per_frame=2, state_columns=(5, None))
    with pytest.raises(DataError, match="names column 5, but a state has 2 numbers"):
        fit_form(space, [(ROWS, np.zeros((9, 2), np.float32))], "here")
