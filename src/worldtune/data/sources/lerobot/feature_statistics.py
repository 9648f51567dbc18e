"""The statistics that LeRobot stores for every feature: extremes, mean, standard deviation and five quantiles.

Names and shapes are those of lerobot 0.6.1, `lerobot/datasets/compute_stats.py`. The values here are exact, while
lerobot samples images and reads quantiles off histograms.
"""

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
Statistics = dict[str, np.ndarray]


def row_statistics(values_TD: np.ndarray) -> Statistics:
    """Return statistics per dimension over the rows: each entry (D,), `count` (1,)."""
    values_TD = values_TD.reshape(len(values_TD), -1).astype(np.float64)
    statistics = {name: np.quantile(values_TD, q, axis=0) for name, q in QUANTILES.items()}
    statistics |= {"min": values_TD.min(0), "max": values_TD.max(0), "mean": values_TD.mean(0), "std": values_TD.std(0)}
    return statistics | {"count": np.array([len(values_TD)])}


def histogram(frames_THWC: np.ndarray) -> np.ndarray:
    """Return the count of each of the 256 values in each channel, (3, 256). Histograms of clips can be added."""
    return np.stack([np.bincount(frames_THWC[..., c].ravel(), minlength=256) for c in range(3)])


def image_statistics(counts_CV: np.ndarray, frames: int) -> Statistics:
    """Return statistics per channel from a histogram, in [0, 1]: each entry (3, 1, 1), `count` (1,) in frames."""
    values = np.arange(256) / 255
    share_CV = counts_CV / counts_CV.sum(1, keepdims=True)
    mean = share_CV @ values
    statistics = {name: _quantile(share_CV, q) for name, q in QUANTILES.items()}
    statistics["min"] = np.array([values[row > 0].min() for row in counts_CV])
    statistics["max"] = np.array([values[row > 0].max() for row in counts_CV])
    statistics["mean"] = mean
    statistics["std"] = np.sqrt(np.maximum(share_CV @ values**2 - mean**2, 0))
    return {name: value.reshape(3, 1, 1) for name, value in statistics.items()} | {"count": np.array([frames])}


def _quantile(share_CV: np.ndarray, q: float) -> np.ndarray:
    """Return the smallest value that at least the share q of the pixels does not exceed."""
    return np.asarray((share_CV.cumsum(1) < q - 1e-12).sum(1) / 255)
