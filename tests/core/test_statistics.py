from itertools import product
from math import erfc, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worldtune.core.statistics import bootstrap_interval, compare_paired, estimate_mean, sign_test

DB = st.floats(-20, 60)


def test_interval_agrees_with_the_normal_approximation_on_many_values() -> None:
    values = np.random.default_rng(5).normal(3.0, 2.0, 400)
    half = 1.96 * values.std() / 20
    low, high = bootstrap_interval(list(values))
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)


WIDER_OF_TWO = 12.706 / 1.960 * 2**0.5
"""Student's t of one degree over the normal's quantile, times the correction of the spread of two values."""


def test_interval_of_two_values_by_hand() -> None:
    """Resamples of {0, 1} have the means 0, ½, ½, 1, so a quarter of them is at each end."""
    assert bootstrap_interval([0.0, 1.0]) == pytest.approx((0.5 - WIDER_OF_TWO / 2, 0.5 + WIDER_OF_TWO / 2), rel=1e-3)


def test_interval_does_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [float(value) for value in range(30)]
    whole = bootstrap_interval(values)
    monkeypatch.setattr("worldtune.core.statistics.BLOCK_SIZE", 1000)
    assert bootstrap_interval(values) == whole


@pytest.mark.parametrize(("seed", "interval"), [(0, (7.1456, 17.8502)), (1, (7.1129, 18.0478))])
def test_interval_is_seeded(seed: int, interval: tuple[float, float]) -> None:
    assert bootstrap_interval([n**2 / 10 for n in range(20)], seed=seed) == pytest.approx(interval, abs=1e-4)


@settings(max_examples=25)
@given(st.lists(DB, min_size=2, max_size=12))
def test_interval_contains_the_mean(values: list[float]) -> None:
    low, high = bootstrap_interval(values)
    assert low - 1e-9 <= np.mean(values) <= high + 1e-9


def test_estimate_skips_and_counts_missing_values() -> None:
    assert estimate_mean([None, 2.0, None, 4.0]).n == 2
    assert estimate_mean([None, 2.0, None, 4.0]).mean == 3.0
    assert estimate_mean([1.0]).low is None
    assert estimate_mean([None]).mean is None


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 0), (6, 0), (9, 3), (3, 9), (4, 4)])
def test_sign_test_against_counting_every_outcome(wins: int, losses: int) -> None:
    n = wins + losses
    uneven = abs(wins - losses)
    outcomes = [abs(2 * sum(flips) - n) >= uneven for flips in product((0, 1), repeat=n)]
    assert sign_test(wins, losses) == pytest.approx(sum(outcomes) / len(outcomes))


def test_sign_test_handles_thousands_of_episodes() -> None:
    normal = erfc((100 - 0.5) / sqrt(3000 / 4) / sqrt(2))  # with the correction for continuity
    assert sign_test(1600, 1400) == pytest.approx(normal, rel=0.01)


def test_paired_counts_wins_losses_and_ties() -> None:
    result = compare_paired([3.0, 1.0, 2.0, None, 5.0], [1.0, 2.0, 2.0, 9.0, None])
    assert (result.n, result.wins, result.losses, result.ties) == (3, 1, 1, 1)
    assert result.mean == pytest.approx(1 / 3)
    assert result.win_rate == pytest.approx(1 / 3)


def test_verdicts() -> None:
    base = [20.0, 21.0, 22.0, 23.0, 24.0, 25.0, 26.0, 27.0]
    assert compare_paired([b + 1 for b in base], base).verdict == "better"
    assert compare_paired([b - 1 for b in base], base).verdict == "worse"
    assert compare_paired([b + (-1) ** k for k, b in enumerate(base)], base).verdict == "no difference shown"
    assert compare_paired([b + 1 for b in base[:5]], base[:5]).verdict == "too few clips to tell"
    assert compare_paired([None], [1.0]).verdict == "too few clips to tell"


@settings(max_examples=25)
@given(st.lists(st.tuples(DB, DB), min_size=2, max_size=12))
def test_swapping_the_candidates_mirrors_the_result(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = [a for a, _ in pairs], [b for _, b in pairs]
    forth, back = compare_paired(ours, theirs), compare_paired(theirs, ours)
    assert (forth.wins, forth.losses, forth.sign_p) == (back.losses, back.wins, back.sign_p)
    assert forth.mean == pytest.approx(-(back.mean or 0.0), abs=1e-9)


def test_windows_of_one_episode_are_not_independent() -> None:
    ours, theirs = [2.0] * 15, [1.0] * 15
    alone = compare_paired(ours, theirs, ["a"] * 15)
    assert (alone.n, alone.episodes, alone.wins) == (15, 1, 15)
    assert (alone.low, alone.verdict) == (None, "too few clips to tell")
    assert alone.sign_p == 1.0
    assert compare_paired(ours, theirs).verdict == "better"


def test_interval_of_windows_equals_that_of_episodes() -> None:
    """With two equal windows per episode, the interval is that of the episodes, not the narrower one of windows."""
    values = [0.0, 1.0, 2.0, 5.0, 6.0, 8.0]
    twice, named = [v for v in values for _ in range(2)], [str(i) for i in range(6) for _ in range(2)]
    assert bootstrap_interval(twice, named) == pytest.approx(bootstrap_interval(values))
    narrow, wide = bootstrap_interval(twice), bootstrap_interval(values)
    assert narrow[1] - narrow[0] < wide[1] - wide[0]


def test_longer_episodes_weigh_more() -> None:
    result = estimate_mean([1.0, 1.0, 1.0, 5.0], ["a", "a", "a", "b"])
    assert (result.mean, result.n, result.episodes) == (2.0, 4, 2)
    assert (result.low, result.high) == pytest.approx(
        (2.0 - WIDER_OF_TWO, 2.0 + 3 * WIDER_OF_TWO), rel=1e-3
    )  # of 1 and 5


def test_every_value_needs_an_episode() -> None:
    with pytest.raises(ValueError, match="shorter"):
        estimate_mean([1.0, 2.0], ["a"])


def test_weights_make_a_ratio_of_sums() -> None:
    values, weights = [1.0, 0.0, 0.5, 0.2, 0.9, 0.4], [1.0, 9.0, 2.0, 3.0, 1.0, 4.0]
    weighted = estimate_mean(values, weights=weights)
    assert weighted.mean == pytest.approx(sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights))
    assert weighted.low is not None
    assert weighted.high is not None
    assert weighted.low < weighted.mean < weighted.high
    alike, plain = estimate_mean(values, weights=[3.0] * 6), estimate_mean(values)
    assert (alike.mean, alike.low, alike.high) == pytest.approx((plain.mean, plain.low, plain.high))


def test_zero_weight_does_not_count() -> None:
    assert estimate_mean([1.0, 5.0, 1.0], weights=[1.0, 0.0, 1.0]).n == 2
    assert compare_paired([1.0, 5.0], [0.0, 9.0], weights=[1.0, 0.0]).losses == 0


@pytest.mark.parametrize("n", [6, 10, 24])
def test_interval_has_its_nominal_coverage(n: int) -> None:
    """About 5 % of 600 intervals may miss the true mean; without the correction 13 % do for six episodes."""
    draw = np.random.default_rng(n)
    missed = 0
    for _ in range(600):
        low, high = bootstrap_interval(draw.normal(size=n).tolist())
        missed += not low <= 0 <= high
    assert missed / 600 < 0.08
