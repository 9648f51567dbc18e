"""Bytes that torch's CPU allocator was asked for, with the scratch memory of operations."""

from collections.abc import Callable, Iterator
from itertools import accumulate

from torch.profiler import ProfilerActivity, profile


def allocated_peak(compute: Callable[[], object]) -> int:
    """Return the peak of allocated bytes during one call of `compute`."""
    return max(accumulate(_changes(compute)))


def retained_bytes(compute: Callable[[], object]) -> int:
    """Return the bytes that the result of `compute` and its graph hold; a first call is not counted."""
    compute()
    return sum(_changes(compute))


def _changes(compute: Callable[[], object]) -> Iterator[int]:
    """Return allocations, and releases as negative numbers, while `compute` runs and its result is held."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = compute()
    del result
    changes = [event.nbytes() for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    if not changes:
        raise RuntimeError("the profiler saw no memory")
    return iter(changes)
