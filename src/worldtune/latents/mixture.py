"""Mix several datasets into one stream of samples, in which each has its share at every length.

The shares divide [0, 1) into intervals. Sample n goes to the dataset whose interval contains the fractional part of
n·φ, with φ the golden ratio. This Weyl sequence has the least discrepancy of its kind, so that small batches are mixed
too. Within a dataset, samples follow its `ClipOrder`. Nothing is stored: a resumed run draws the same samples.
"""

from collections.abc import Sequence

import numpy as np

from worldtune.core.seeds import derive_seed
from worldtune.latents.dataset import ClipOrder

GOLDEN_RATIO = (5**0.5 - 1) / 2
INITIAL_SAMPLES = 4096  # samples that are assigned at first


class Mixture:
    """A stream of samples: `mixture[n]` is (dataset, clip) of the n-th sample; `shares` sum to 1."""

    def __init__(self, counts: Sequence[int], shares: Sequence[float], seed: int) -> None:
        self._orders = [ClipOrder(count, derive_seed(seed, number)) for number, count in enumerate(counts)]
        self._bounds = np.cumsum(shares)[:-1]
        self._datasets = self._positions = np.empty(0, dtype=np.int64)

    def __getitem__(self, sample: int) -> tuple[int, int]:
        while sample >= len(self._datasets):
            self._grow()
        dataset = int(self._datasets[sample])
        return dataset, self._orders[dataset][int(self._positions[sample])]

    def _grow(self) -> None:
        count = max(INITIAL_SAMPLES, 2 * len(self._datasets))
        self._datasets = np.searchsorted(self._bounds, np.arange(count) * GOLDEN_RATIO % 1.0, side="right")
        self._positions = np.zeros(count, dtype=np.int64)
        for dataset in range(len(self._orders)):
            is_chosen = self._datasets == dataset
            self._positions[is_chosen] = np.arange(is_chosen.sum())
