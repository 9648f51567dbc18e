"""Wilson's interval of a success rate (Wilson 1927, "Probable Inference, the Law of Succession, and Statistical
Inference"): it stays inside [0, 1] and keeps its coverage for few trials and for rates near 0 or 1."""

import math

from scipy.special import ndtri

from worldtune.core.statistics import CONFIDENCE_LEVEL


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % interval of the success rate of independent trials.

    It does not include the spread over training seeds or demonstrations: trials of one policy describe that policy.
    Raise ValueError without trials, or for more successes than trials.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} successes in {trials} trials")
    z = float(ndtri((1.0 + CONFIDENCE_LEVEL) / 2.0))
    rate = successes / trials
    center = rate + z * z / (2 * trials)
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    low, high = (center - half) / scale, (center + half) / scale
    return (0.0 if successes == 0 else low), (1.0 if successes == trials else high)
