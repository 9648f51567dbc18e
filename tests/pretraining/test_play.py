"""Play: several motions from one start, in scenes that no other set has."""

from collections import Counter

import numpy as np
import pytest

from domain import NEW_VIEW_TASKS, SETS
from play import PLAY_SETS, starts_of

GROUP_SEEDS = 900 * 1000


def test_starts_have_one_or_three_motions() -> None:
    shown, held_out = (Counter((task, seed) for task, seed, _ in starts_of(play_set)) for play_set in PLAY_SETS)
    assert Counter(shown.values()) == {1: 48, 3: 16}
    assert Counter(held_out.values()) == {3: 8}
    assert {task for task, _ in held_out} == {task for task, _ in shown} == set(NEW_VIEW_TASKS)
    assert not {seed for _, seed in shown} & {seed for _, seed in held_out}


def test_play_shares_no_layout_with_other_sets() -> None:
    seeds = [seed for play_set in PLAY_SETS for _, seed, _ in starts_of(play_set)]
    last = max(clips.first_seed for clips in SETS) + GROUP_SEEDS
    assert last < min(seeds)
    assert max(seeds) < 10_000_000


@pytest.mark.slow
def test_motions_of_one_start_begin_with_the_same_picture_and_repeat_exactly() -> None:
    mujoco = pytest.importorskip("mujoco")
    pytest.importorskip("metaworld")
    from play import PROMPT, play
    from worldtune.sim.demonstration import open_scene
    from worldtune.sim.tasks import TASKS

    env = open_scene(TASKS["reach"])
    with mujoco.Renderer(env.model, 128, 128) as renderer:
        first, again, other = (play(env, 9_000_000, motion, renderer) for motion in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first[:3], again[:3], strict=True))
    assert np.array_equal(first[0][0], other[0][0])
    assert np.array_equal(first[1][0], other[1][0])
    assert np.abs(first[1][-1, :3] - other[1][-1, :3]).max() > 0.05
    assert first[2].shape == (21, 20)
    assert np.abs(first[2]).max() <= 1
    assert first[3] == PROMPT
