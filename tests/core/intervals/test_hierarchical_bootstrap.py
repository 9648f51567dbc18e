"""Coverage on simulated studies, and the cases that can be computed by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import worldtune.core.intervals.hierarchical_bootstrap as bootstrap
from worldtune.core.intervals.hierarchical_bootstrap import estimate_difference, estimate_success, hierarchical_interval

TRUE_MEAN = 0.25
STUDIES = 300


def simulate(shape: tuple[int, int, int], spread: tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    """Return values (D, S, R) with a random effect of each draw, each seed and each reset, and noise."""
    draws, seeds, resets = shape
    return (
        TRUE_MEAN
        + rng.normal(0, spread[0], (draws, 1, 1))
        + rng.normal(0, spread[1], (draws, seeds, 1))
        + rng.normal(0, spread[2], (1, 1, resets))
        + rng.normal(0, 0.4, shape)
    )


@pytest.mark.parametrize(
    ("shape", "spread"),
    [
        ((3, 2, 40), (0.1, 0.1, 0.3)),
        ((3, 2, 40), (0.15, 0.05, 0.05)),
        ((3, 2, 40), (0.0, 0.0, 0.3)),
        ((2, 2, 40), (0.1, 0.1, 0.3)),
        ((5, 1, 20), (0.1, 0.0, 0.3)),
        ((1, 4, 40), (0.0, 0.1, 0.3)),
    ],
)
def test_interval_covers_the_true_mean(
    shape: tuple[int, int, int], spread: tuple[float, float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """95 % of 300 studies ± 3 standard errors of that share."""
    monkeypatch.setattr(bootstrap, "REPLICATES", 500)
    rng = np.random.default_rng(7)
    intervals = [hierarchical_interval(simulate(shape, spread, rng)) for _ in range(STUDIES)]
    covered = np.mean([low <= TRUE_MEAN <= high for low, high in intervals])
    assert 0.91 <= covered <= 0.99


def test_percentiles_of_three_draws_alone_are_too_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason for the stretched interval: draws that differ are covered in fewer than 90 % of the studies."""
    monkeypatch.setattr(bootstrap, "REPLICATES", 500)
    monkeypatch.setattr(bootstrap, "_stretch", lambda values_DSR, error: 1.0)
    rng = np.random.default_rng(7)
    intervals = [hierarchical_interval(simulate((3, 2, 40), (0.15, 0.05, 0.05), rng)) for _ in range(STUDIES)]
    assert np.mean([low <= TRUE_MEAN <= high for low, high in intervals]) < 0.9


def test_resets_are_drawn_once_for_all_policies() -> None:
    """If only resets differ, the interval is that of one policy, however many policies there are."""
    success_R = np.arange(40) % 2
    one = estimate_success(success_R[None, None])
    many = estimate_success(np.broadcast_to(success_R, (3, 2, 40)))
    assert (many.low, many.high) == pytest.approx((one.low, one.high), abs=0.02)
    half = 2.0227 * np.sqrt(0.25 / 39)  # Student's t of 39 degrees, times the standard error
    assert (one.low, one.high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.02)


def test_difference_is_paired() -> None:
    """Arms that differ by a constant have an interval without width, however much resets and draws vary."""
    rng = np.random.default_rng(1)
    base_DSR = rng.normal(0, 0.2, (3, 2, 40))
    found = estimate_difference(base_DSR + 0.25, base_DSR)
    assert (found.mean, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))
    assert (found.draws, found.seeds, found.resets) == (3, 2, 40)


def test_levels_with_one_unit_are_not_covered() -> None:
    success_DSR = np.random.default_rng(2).random((1, 3, 10)) < 0.5
    assert estimate_success(success_DSR).interval_covers == ("seeds", "resets")


@settings(max_examples=30)
@given(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(2, 12)), st.integers(0, 99))
def test_interval_contains_the_mean_and_stays_between_0_and_1(shape: tuple[int, int, int], seed: int) -> None:
    found = estimate_success(np.random.default_rng(seed).random(shape) < 0.7)
    assert 0 <= found.low <= found.mean <= found.high <= 1


def test_same_values_give_the_same_interval() -> None:
    values_DSR = simulate((3, 2, 10), (0.1, 0.1, 0.3), np.random.default_rng(3))
    assert hierarchical_interval(values_DSR) == hierarchical_interval(values_DSR.copy())
    assert hierarchical_interval(values_DSR) != hierarchical_interval(values_DSR, seed=1)


@pytest.mark.parametrize("values", [np.zeros((2, 3)), np.zeros((1, 1, 1)), np.full((2, 2, 2), np.nan)])
def test_unusable_values_are_an_error(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="finite values of shape"):
        hierarchical_interval(values)


def test_arms_of_other_shapes_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match=r"not \(1, 1, 4\) and \(1, 1, 5\)"):
        estimate_difference(np.zeros((1, 1, 4)), np.zeros((1, 1, 5)))
