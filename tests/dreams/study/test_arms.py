"""The control with shuffled labels: other labels, moved to the own start, on unchanged pictures."""

import numpy as np
import pytest

from worldtune.dreams.study.arms import shuffle_labels
from worldtune.policy.episode import TrainingEpisode


def episode(number: int) -> TrainingEpisode:
    """Return an episode that starts at 10·number and moves by number + 1 in each interval."""
    states_TS = (10 * number + (number + 1) * np.arange(3, dtype=np.float32))[:, None]
    commands_ID = np.full((2, 4), number, np.float32)
    frames_THWC = np.full((3, 2, 2, 3), number, np.uint8)
    return TrainingEpisode(f"dream {number}", "reach", frames_THWC, states_TS, commands_ID, is_synthetic=True)


def test_each_episode_gets_another_label_at_its_own_start() -> None:
    shuffled = shuffle_labels([episode(number) for number in range(4)])
    assert [row.states_TS[:, 0].tolist() for row in shuffled] == [[0, 3, 6], [10, 14, 18], [20, 21, 22], [30, 32, 34]]
    assert [row.actions_ID[0, 0] for row in shuffled] == [2, 3, 0, 1]
    assert [row.frames_THWC[0, 0, 0, 0] for row in shuffled] == [0, 1, 2, 3]
    assert [row.name for row in shuffled] == [f"dream {number}" for number in range(4)]
    assert all(row.states_TS.dtype == np.float32 and row.is_synthetic for row in shuffled)


@pytest.mark.parametrize("count", [2, 3, 5, 48])
def test_no_episode_keeps_its_label_and_none_is_lost(count: int) -> None:
    given = [int(row.actions_ID[0, 0]) for row in shuffle_labels([episode(number) for number in range(count)])]
    assert sorted(given) == list(range(count))
    assert all(label != number for number, label in enumerate(given))
