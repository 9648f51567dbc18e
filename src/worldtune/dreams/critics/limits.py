"""Limits of a measurement, fitted to its values on real clips."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from worldtune.core.settings import StrictModel

Side = Literal["at least", "at most", "between"]
TAIL = 0.05  # the quantile of the real clips that the factor is applied to
RANGE_TAIL, RANGE_FACTORS = 0.1, 1.5  # of "between": in evaluation/metrics/anomaly, 3 times the distance
MIN_SPREAD, SPREAD_FLOOR = 0.1, 0.02


class Limit(StrictModel):
    """The allowed range of a value; None: no limit on that side."""

    low: float | None = None
    high: float | None = None

    def fault(self, value: float) -> str | None:
        """Return how the value leaves the range, None if it does not."""
        if self.low is not None and value < self.low:
            return f"{value:.3g} is below {self.low:.3g}"
        if self.high is not None and value > self.high:
            return f"{value:.3g} is above {self.high:.3g}"
        return None


class Rule(StrictModel):
    """How the limit of a value follows from real clips. `least`: the smallest quantile of "at most", in its unit."""

    side: Side
    least: float = 0.0


def fit_limit(rule: Rule, real: Sequence[float], factor: float) -> Limit:
    """Return the limit of a value, a quantile of the real clips moved outward by `factor` (1 or more).

    "at least": the 5 % quantile divided by the factor. "at most": the 95 % quantile times the factor. "between": from
    the median to either side, 1.5 · factor times as far as the 10 % and the 90 % quantiles.
    """
    if rule.side == "at least":
        return Limit(low=float(np.quantile(real, TAIL)) / factor)
    if rule.side == "at most":
        return Limit(high=max(float(np.quantile(real, 1 - TAIL)), rule.least) * factor)
    low, middle, high = np.quantile(real, [RANGE_TAIL, 0.5, 1 - RANGE_TAIL]).tolist()
    least, times = MIN_SPREAD * abs(middle) + SPREAD_FLOOR, RANGE_FACTORS * factor
    return Limit(low=middle - times * max(middle - low, least), high=middle + times * max(high - middle, least))


def required_factor(rule: Rule, real: Sequence[float], value: float) -> float:
    """Return the smallest factor, 1 or more, with which `fit_limit` accepts the value; infinity if there is none."""
    if rule.side == "at least":
        quantile = float(np.quantile(real, TAIL))
        return _ratio(quantile, value)
    if rule.side == "at most":
        return _ratio(value, max(float(np.quantile(real, 1 - TAIL)), rule.least))
    low, middle, high = np.quantile(real, [RANGE_TAIL, 0.5, 1 - RANGE_TAIL]).tolist()
    least = MIN_SPREAD * abs(middle) + SPREAD_FLOOR
    distance = max(middle - low, least) if value < middle else max(high - middle, least)
    return _ratio(abs(value - middle), RANGE_FACTORS * distance)


def _ratio(upper: float, lower: float) -> float:
    if upper <= lower:
        return 1.0
    return upper / lower if lower > 0 else np.inf
