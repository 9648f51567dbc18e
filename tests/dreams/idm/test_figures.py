"""The figures of an IDM, with exact values."""

import numpy as np
import pytest

from worldtune.dreams.idm.figures import balanced_accuracy, r_squared, rank_correlation


def test_r_squared_is_one_for_equal_and_zero_for_the_mean() -> None:
    true = np.array([[0.0, 1.0], [2.0, 3.0]])
    assert r_squared(true, true) == 1
    assert r_squared(np.broadcast_to(true.mean(0), true.shape), true) == 0
    assert r_squared(true, np.ones((2, 2))) is None, "what does not vary has no variance to explain"


def test_balanced_accuracy_counts_both_sides_equally() -> None:
    true = np.array([-1.0, -1.0, -1.0, 1.0])
    assert balanced_accuracy(np.array([-1.0, -1.0, 1.0, 1.0]), true) == pytest.approx((2 / 3 + 1) / 2)
    assert balanced_accuracy(np.full(4, -1.0), true) == 0.5, "the more frequent side alone is chance"
    assert balanced_accuracy(true, np.ones(4)) is None


def test_rank_correlation_ignores_scale() -> None:
    spread = [np.arange(6, dtype=np.float32)]
    assert rank_correlation(spread, [np.arange(6) ** 2]) == 1
    assert rank_correlation(spread, [-np.arange(6)]) == -1
