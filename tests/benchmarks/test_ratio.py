"""Ratios of times, by a clock that the test sets."""

import pytest

from benchmarks import ratio
from benchmarks.ratio import Ratio, time_in_turn


def test_ratio_is_the_median_over_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each round's pair is compared, and every other round begins with the plain form."""
    calls: list[str] = []
    seconds = {"plain": iter([9.0, 4.0, 6.0, 10.0]), "fast": iter([9.0, 2.0, 2.0, 4.0])}  # the first are unmeasured
    now = [0.0]

    def work(name: str) -> None:
        calls.append(name)
        now[0] += next(seconds[name])

    monkeypatch.setattr(ratio.time, "perf_counter", lambda: now[0])
    assert time_in_turn(lambda: work("plain"), lambda: work("fast"), 3) == Ratio(6.0, 2.0, 2.5)
    assert calls == ["plain", "fast", "fast", "plain", "plain", "fast", "fast", "plain"]
