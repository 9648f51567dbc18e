"""Wrong actions and several motions from one start, on clips and paths whose answers are known."""

from pathlib import Path

import numpy as np
import pytest

from worldtune.data.clip import Clip
from worldtune.data.video.footage import VideoFootage
from worldtune.evaluation.obedience.same_start import compare_motions, from_one_start
from worldtune.evaluation.obedience.wrong_actions import give_wrong_actions
from worldtune.latents.dataset import LatentClip
from worldtune.latents.store import Entry

ENTRY = Entry(Path("x"), "x", "x")
T = np.linspace(0, 1, 9)


def clip(name: str, task: str, direction: tuple[float, ...]) -> LatentClip:
    states = (T[:, None] * np.array(direction)).astype(np.float32)
    made = Clip(
        "source", name, "camera", task, task, VideoFootage(Path(name)), tuple(range(9)), 16, 32, 32, "stretch",
        states=states, actions=np.full((9, 2), len(name), np.float32),
    )  # fmt: skip
    return LatentClip(made, ENTRY, ENTRY)


def test_wrong_actions_come_from_the_least_similar_paths_of_other_tasks() -> None:
    ways = {"left": (-1, 0), "right": (1, 0), "up": (0, 1), "down": (0, -1)}
    names = ("a", "bb", "ccc", "dddd")
    clips = [clip(name, task, way) for name, (task, way) in zip(names, ways.items(), strict=True)]
    pairs = give_wrong_actions(clips, (0, 1))
    assert [(own.clip.episode, other.clip.episode) for own, other in pairs] == [
        ("a", "bb"), ("bb", "a"), ("ccc", "dddd"), ("dddd", "ccc"),
    ]  # fmt: skip
    for own, other in pairs:
        assert own.clip.actions is not None
        assert (own.clip.actions == len(other.clip.episode)).all()
        states = next(c.clip.states for c in clips if c.clip.episode == own.clip.episode)
        assert np.array_equal(own.clip.states, states)  # type: ignore[arg-type]


def test_wrong_actions_need_two_tasks_actions_and_columns() -> None:
    one = [clip("a", "left", (1, 0)), clip("bb", "left", (0, 1))]
    assert give_wrong_actions(one, (0, 1)) == []
    assert give_wrong_actions([clip("a", "left", (1, 0)), clip("bb", "right", (0, 1))], ()) == []
    assert give_wrong_actions([], (0, 1)) == []


def path(*direction: float) -> np.ndarray:
    return (T[:, None] * np.array(direction) + 5).astype(np.float32)


@pytest.mark.parametrize(("obedient", "slope"), [(1.0, 1.0), (0.5, 0.5), (0.0, 0.0)])
def test_differences_of_motions_show_obedience(obedient: float, slope: float) -> None:
    directions = [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.5)]
    real = [[path(*d) for d in directions], [path(*reversed(d)) for d in directions]]
    shared = np.array([0.3, -0.2])  # what scene and prompt suggest
    made = [
        [path(*(obedient * np.array(d) + (1 - obedient) * shared)) for d in directions],
        [path(*(obedient * np.array(d[::-1]) + (1 - obedient) * shared)) for d in directions],
    ]
    found = compare_motions(made, real, ["first", "second"])
    assert found.pairs == 6
    assert found.slope.mean == pytest.approx(slope, abs=1e-5)
    assert found.correlation.mean == pytest.approx(1.0 if obedient else 0.0, abs=1e-4)
    assert found.slope.episodes == 2


def test_motions_of_one_start_differ_by_their_actions_alone() -> None:
    first, second = from_one_start([clip("a", "left", (1, 0)), clip("bb", "left", (0, 1))])
    assert (first.clip.episode, second.clip.episode) == ("a", "a")
    assert np.array_equal(first.clip.states, second.clip.states)  # type: ignore[arg-type]
    assert first.clip.actions is not None
    assert second.clip.actions is not None
    assert (first.clip.actions[0, 0], second.clip.actions[0, 0]) == (1, 2)
