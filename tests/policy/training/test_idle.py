import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from policy.conftest import make_episode
from worldtune.policy.training.idle import cut_idle_end, frames_until_idle


def path(*steps: float) -> np.ndarray:
    """Return positions (T, 3) that move by these steps along x."""
    x_T = np.cumsum([0.0, *steps])
    return np.stack([x_T, np.zeros_like(x_T), np.zeros_like(x_T)], axis=1)


@pytest.mark.parametrize(
    ("steps", "kept"),
    [
        ((1.0, 4.0, 2.0, 0.5, 0.1), 4),  # the last step of 1.4 or more is the third
        ((4.0, 0.1, 0.1, 1.5, 0.1), 5),  # a pause in the middle stays
        ((1.0, 1.0, 1.0), 4),  # nothing is idle
        ((0.0, 0.0), 3),  # no motion at all: nothing is cut
    ],
)
def test_frames_after_the_last_large_motion_are_idle(steps: tuple[float, ...], kept: int) -> None:
    assert frames_until_idle(path(*steps), 0.35) == kept


@given(arrays(np.float64, (8, 3), elements=st.floats(-1, 1)), st.floats(0.01, 100), st.floats(0.05, 0.9))
def test_unit_of_length_does_not_matter(positions_TS: np.ndarray, scale: float, threshold: float) -> None:
    kept = frames_until_idle(positions_TS, threshold)
    assert 2 <= kept <= 8
    if np.abs(np.diff(positions_TS, axis=0)).max() > 1e-6:
        steps_I = np.linalg.norm(np.diff(positions_TS, axis=0), axis=1)
        assert (steps_I[kept - 1 :] < threshold * steps_I.max()).all()
        assert steps_I[kept - 2] >= threshold * steps_I.max()


def test_cut_episode_has_an_action_after_each_frame_but_the_last() -> None:
    episode = make_episode(frames=6)
    states_TS = np.concatenate([path(4.0, 3.0, 0.1, 0.1, 0.1), np.zeros((6, 1))], axis=1).astype(np.float32)
    whole = type(episode)("a", "move", episode.frames_THWC, states_TS, episode.actions_ID)
    cut = cut_idle_end(whole, (0, 1, 2), 0.35)
    assert [len(part) for part in (cut.frames_THWC, cut.states_TS, cut.actions_ID)] == [3, 3, 2]
    assert np.array_equal(cut.actions_ID, episode.actions_ID[:2])
    assert cut_idle_end(cut, (0, 1, 2), 0.35) is cut
