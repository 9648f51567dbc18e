"""Several datasets as one stream of samples, each with its share of it at every length.

Sample n goes to the dataset in whose share of [0, 1) the fractional part of n·φ lies, φ the golden ratio: a sequence
that fills the interval evenly (Weyl's; its discrepancy is the least of its kind), so that small batches are mixed too.
Within a dataset samples follow its own order. Nothing is stored: a resumed run draws what it would have drawn.
"""

from collections.abc import Sequence

import numpy as np

from worldtune.latents.dataset import ClipOrder
from worldtune.seeds import seed_of

GOLDEN = (5**0.5 - 1) / 2
GROWTH = 4096  # samples assigned at first


class Mixture:
    """`mixture[n]` is (dataset, clip) of the n-th sample; `shares` sum to 1."""

    def __init__(self, counts: Sequence[int], shares: Sequence[float], seed: int) -> None:
        self._orders = [ClipOrder(count, seed_of(seed, number)) for number, count in enumerate(counts)]
        self._bounds = np.cumsum(shares)[:-1]
        self._chosen = self._places = np.empty(0, dtype=np.int64)

    def __getitem__(self, sample: int) -> tuple[int, int]:
        while sample >= len(self._chosen):
            self._grow()
        dataset = int(self._chosen[sample])
        return dataset, self._orders[dataset][int(self._places[sample])]

    def _grow(self) -> None:
        count = max(GROWTH, 2 * len(self._chosen))
        self._chosen = np.searchsorted(self._bounds, np.arange(count) * GOLDEN % 1.0, side="right")
        self._places = np.zeros(count, dtype=np.int64)
        for dataset in range(len(self._orders)):
            its = self._chosen == dataset
            self._places[its] = np.arange(its.sum())
