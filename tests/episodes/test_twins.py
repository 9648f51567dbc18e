import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import worldtune.episodes.twins as module
from worldtune.episodes.curation import see
from worldtune.episodes.scan import looks_of
from worldtune.episodes.twins import ALIKE, APART, NOISE, SAME, twins
from worldtune.episodes.video import write_video

from .scenes import scene, write_compressed

SHAPE = (3, 4, 4)


@st.composite
def clips(draw: st.DrawFn) -> list[np.ndarray]:
    """Some clips, and some that differ from these by little or by much."""
    begun = draw(st.lists(arrays(np.uint8, SHAPE, elements=st.integers(40, 200)), max_size=4))
    found = list(begun)
    for clip in begun:
        for most in draw(st.lists(st.sampled_from([0, 1, 2, 8, 30]), max_size=2)):
            found.append((clip + draw(arrays(np.int16, SHAPE, elements=st.integers(-most, most)))).astype(np.uint8))
    return found


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Root mean square of the difference, in luma levels."""
    return float(np.sqrt(np.square(one.astype(float) - other).mean()))


def limit(clip: np.ndarray) -> float:
    within = apart(clip, clip.astype(float).mean(0))
    return max(ALIKE * within, SAME, min(APART * within, NOISE))


@given(clips())
def test_a_pair_is_one_if_it_differs_by_no_more_than_its_limit(found: list[np.ndarray]) -> None:
    pairs = set(twins(found))
    for j, other in enumerate(found):
        for i, one in enumerate(found[:j]):
            distance, most = apart(one, other), min(limit(one), limit(other))
            if abs(distance - most) > 1e-3:
                assert ((i, j) in pairs) == (distance <= most)
    assert all(i < j for i, j in pairs)


@given(clips(), st.randoms(use_true_random=False))
def test_order_does_not_matter(found: list[np.ndarray], rng: random.Random) -> None:
    order = list(range(len(found)))
    rng.shuffle(order)
    pairs = {(min(order[i], order[j]), max(order[i], order[j])) for i, j in twins([found[k] for k in order])}
    assert pairs == set(twins(found))


@pytest.mark.parametrize("block", [1, 2, 3, 7])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    draw = np.random.default_rng(block)
    begun = draw.integers(40, 200, (6, *SHAPE))
    found = [clip + draw.integers(-most, most + 1, SHAPE) for most in (0, 1, 5) for clip in begun]
    thumbs = [np.asarray(clip, np.uint8) for clip in found]
    expected = list(twins(thumbs))
    assert len(expected) >= 12
    monkeypatch.setattr(module, "BLOCK", block)
    pairs = list(twins(thumbs))
    assert len(set(pairs)) == len(pairs)
    assert set(pairs) == set(expected)


def test_what_is_first_is_settled_before_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever drops the second of a pair has dropped it before it is the first of another."""
    monkeypatch.setattr(module, "BLOCK", 2)
    clip = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)
    seen_as_first: set[int] = set()
    for i, j in twins([clip] * 9):
        seen_as_first.add(i)
        assert j not in seen_as_first


def test_the_nearer_of_two_limits_counts() -> None:
    """One changes more than the other, and what they differ by is less than its limit but not than the other's."""
    clip = np.random.default_rng(0).integers(50, 200, (9, 16, 16)).astype(float)
    flatter = clip.mean(0) + 0.82 * (clip - clip.mean(0))
    pair = [each.astype(np.uint8) for each in (clip, flatter)]
    assert limit(pair[1]) < apart(*pair) < limit(pair[0])
    assert list(twins(pair)) == list(twins(pair[::-1])) == []


def test_a_still_of_hard_contrasts_is_its_own_twin() -> None:
    draw = np.random.default_rng(0)
    stills = [draw.choice(np.array([0, 1, 254, 255], np.uint8), (16, 16))[None].repeat(9, 0) for _ in range(50)]
    assert set(twins([*stills, *stills])) == {(k, k + 50) for k in range(50)}


def test_no_clips_have_no_twins() -> None:
    assert list(twins([])) == []


def thumbs_of(path: Path) -> np.ndarray:
    looks = looks_of(path)
    return see("cam", looks, range(len(looks.thumbs)), None, None).thumbs


@pytest.mark.parametrize(("side", "crf"), [(16, 18), (16, 23), (16, 28), (6, 18), (6, 23)])
def test_a_film_at_another_quality_is_a_twin(tmp_path: Path, side: int, crf: int) -> None:
    frames_THWC = scene(16, 1, side)
    write_video(tmp_path / "a.mp4", frames_THWC, 16)
    write_compressed(tmp_path / "b.mp4", frames_THWC, crf)
    assert list(twins([thumbs_of(tmp_path / name) for name in ("a.mp4", "b.mp4")])) == [(0, 1)]


@pytest.mark.parametrize("side", [2, 4, 16])
def test_other_demonstrations_before_the_same_background_are_none(tmp_path: Path, side: int) -> None:
    """Even where all that moves is a thing of 2×2 pixels."""
    for seed in range(6):
        write_video(tmp_path / f"{seed}.mp4", scene(16, seed, side), 16)
    assert list(twins([thumbs_of(tmp_path / f"{seed}.mp4") for seed in range(6)])) == []


def test_the_same_way_somewhat_later_is_another_demonstration(tmp_path: Path) -> None:
    frames_THWC = scene(24, 1)
    write_video(tmp_path / "a.mp4", frames_THWC[:16], 16)
    write_video(tmp_path / "b.mp4", frames_THWC[2:18], 16)
    assert list(twins([thumbs_of(tmp_path / name) for name in ("a.mp4", "b.mp4")])) == []
