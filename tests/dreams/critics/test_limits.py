"""Limits follow from the quantiles of real values."""

import numpy as np
import pytest

from worldtune.dreams.critics.limits import Limit, Rule, fit_limit, required_factor

REAL = [float(value) for value in range(1, 101)]  # quantiles: 5 % 5.95, 10 % 10.9, 50 % 50.5, 90 % 90.1, 95 % 95.05


@pytest.mark.parametrize(
    ("rule", "factor", "low", "high"),
    [
        (Rule(side="at least"), 1.0, 5.95, None),
        (Rule(side="at least"), 2.0, 2.975, None),
        (Rule(side="at most"), 2.0, None, 190.1),
        (Rule(side="at most", least=200), 2.0, None, 400),
        (Rule(side="between"), 2.0, 50.5 - 3 * 39.6, 50.5 + 3 * 39.6),
    ],
)
def test_limits_move_outward_by_the_factor(rule: Rule, factor: float, low: float | None, high: float | None) -> None:
    limit = fit_limit(rule, REAL, factor)
    assert limit.low == (None if low is None else pytest.approx(low))
    assert limit.high == (None if high is None else pytest.approx(high))


@pytest.mark.parametrize("rule", [Rule(side="at least"), Rule(side="at most"), Rule(side="between")])
@pytest.mark.parametrize("value", [0.5, 3.0, 50.0, 99.0, 300.0])
def test_required_factor_is_the_smallest_that_accepts(rule: Rule, value: float) -> None:
    factor = required_factor(rule, REAL, value)
    assert fit_limit(rule, REAL, factor * (1 + 1e-9)).fault(value) is None
    assert factor == 1 or fit_limit(rule, REAL, factor * (1 - 1e-6)).fault(value)


def test_nothing_accepts_a_value_below_zero_where_real_ones_are_above() -> None:
    assert required_factor(Rule(side="at least"), REAL, 0.0) == np.inf


def test_fault_says_which_side_is_left() -> None:
    limit = Limit(low=1, high=2)
    assert [limit.fault(value) for value in (1, 1.5, 2)] == [None] * 3
    assert limit.fault(0.5) == "0.5 is below 1"
    assert limit.fault(2.5) == "2.5 is above 2"
