"""Compute only a few slices of a large tensor without data: the other slices are equal to them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from worldtune.models.memory.chunked import Compute, EverySlice, Slice
from worldtune.planning.flops import FlopCounter


class FewSlices(EverySlice):
    """Slices of which only the first two, the last full one and a shorter rest are computed.

    The others cost what the second costs. The first differs, because it has no results of an earlier slice in memory.
    """

    def results(self, compute: Compute, slices: Sequence[Slice]) -> list[Tensor]:
        skipped, results = _repeats_of_second(slices), list[Tensor]()
        for number, inputs in enumerate(slices):
            if number in skipped:
                results.append(torch.empty_like(results[1]))
                continue
            with _counted_again(len(skipped) if number == 1 else 0):
                results.append(compute(*inputs))
        return results

    def steps(self, slices: Sequence[Slice]) -> Iterator[tuple[int, Slice]]:
        skipped = _repeats_of_second(slices)
        for number, inputs in enumerate(slices):
            if number not in skipped:
                with _counted_again(len(skipped) if number == 1 else 0):
                    yield number, inputs


def _repeats_of_second(slices: Sequence[Slice]) -> range:
    """Return the numbers of the slices between the second and the last full one."""
    return range(2, sum(inputs[0].shape == slices[0][0].shape for inputs in slices) - 1)


@contextmanager
def _counted_again(times: int) -> Iterator[None]:
    """Count the operations of the block `times` more times."""
    counter = FlopCounter.current
    before = counter.total if counter else 0
    yield
    if counter:
        counter.total += times * (counter.total - before)
