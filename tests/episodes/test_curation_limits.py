"""What is sharp enough and what action is an outlier, of clips that are given by their numbers."""

from dataclasses import replace

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from worldtune.episodes.curation import ENOUGH, Curate, Sight, judge, see
from worldtune.episodes.looks import look_at

from .scenes import scene

BASE = see("front", look_at(scene(6, 1)), range(6), None, None)


def sights(camera: str = "front", **of_each: list[float]) -> list[Sight]:
    (name, values), *_ = of_each.items()
    return [replace(BASE, camera=camera, **{name: value}) for value in values]


@given(st.floats(1, 1e4), st.lists(st.floats(1, 1.999), min_size=1, max_size=60))
@example(1, [1, *[1.9] * 30])
def test_clips_within_twice_of_each_other_are_sharp_enough(least: float, factors: list[float]) -> None:
    assert not any(judge(Curate(), sights(sharpness=[least * factor for factor in factors])))


@given(st.lists(st.floats(0, 1e4), min_size=ENOUGH, max_size=60), st.floats(0.01, 100))
def test_blur_is_relative_to_the_camera(values: list[float], factor: float) -> None:
    one = judge(Curate(), sights(sharpness=values))
    scaled = judge(Curate(), sights(sharpness=[factor * value for value in values]))
    both = judge(Curate(), sights(sharpness=values) + sights("wrist", sharpness=[1e-3] * 30))
    assert [bool(reason) for reason in scaled] == [bool(reason) for reason in one]
    assert both == one + [""] * 30


@given(st.integers(ENOUGH, 50), st.integers(1, 5))
def test_a_clip_a_tenth_as_sharp_as_others_is_blurred(count: int, soft: int) -> None:
    told = judge(Curate(), sights(sharpness=[100.0] * (10 * soft + count) + [10.0] * soft))
    assert [bool(reason) for reason in told] == [False] * (10 * soft + count) + [True] * soft


def test_where_sharpness_varies_less_is_asked_for() -> None:
    assert not any(judge(Curate(), sights(sharpness=[100.0] * 20 + [30.0] * 4 + [20.0])))
    told = judge(Curate(), sights(sharpness=[100.0] * 24 + [20.0]))
    assert told == [""] * 24 + ["blurred (sharpness 20, this camera's limit is 50)"]


def acting(actions: list[np.ndarray]) -> list[Sight]:
    return [replace(BASE, actions=actions_TA) for actions_TA in actions]


FINITE = st.floats(-1e3, 1e3, width=32)


@given(arrays(np.float32, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=FINITE), st.integers(1, 50))
def test_clips_of_the_same_actions_in_any_order_have_no_outliers(actions_TA: np.ndarray, count: int) -> None:
    """However rare a value is within a clip: what every clip does is no outlier."""
    draw = np.random.default_rng(count)
    assert not any(judge(Curate(), acting([draw.permutation(actions_TA) for _ in range(count)])))


@given(st.integers(0, 999), st.sampled_from(["uniform", "normal", "gripper", "brake"]), st.integers(ENOUGH, 60))
def test_clips_drawn_alike_have_no_outliers(seed: int, kind: str, count: int) -> None:
    draw = np.random.default_rng(seed)
    rare = draw.choice([0.0001, 0.001, 0.01, 0.1])
    made = {
        "uniform": lambda: draw.uniform(-1, 1, (24, 3)),
        "normal": lambda: draw.normal(0, 1, (24, 3)).cumsum(0),
        "gripper": lambda: (draw.random((24, 3)) < rare).astype(float),
        "brake": lambda: -(draw.random((24, 3)) < rare).astype(float),
    }[kind]
    assert not any(judge(Curate(), acting([made() for _ in range(count)])))


def test_of_few_clips_no_action_is_an_outlier() -> None:
    draw = np.random.default_rng(0)
    actions = [draw.uniform(-1, 1, (24, 3)) for _ in range(ENOUGH)]
    actions[0][3, 1] = 1e6
    assert not any(judge(Curate(), acting(actions[:-1])))
    assert [bool(reason) for reason in judge(Curate(), acting(actions))] == [True] + [False] * (ENOUGH - 1)


@given(st.integers(0, 99), st.floats(10, 1e6), st.sampled_from([-1, 1]))
def test_a_wild_action_is_found_where_it_is(seed: int, size: float, sign: int) -> None:
    draw = np.random.default_rng(seed)
    actions = [draw.uniform(-1, 1, (24, 3)) for _ in range(ENOUGH + 2)]
    clip, frame, dimension = (int(draw.integers(n)) for n in (len(actions), 24, 3))
    actions[clip][frame, dimension] = sign * size
    told = judge(Curate(), acting(actions))
    assert [number for number, reason in enumerate(told) if reason] == [clip]
    assert told[clip].startswith(f"action outlier (dimension {dimension} is ")
    assert told[clip].endswith(f" at frame {frame})")
