"""Bytes that torch's own allocator was asked for on the CPU, scratch memory of operations included."""

from collections.abc import Callable, Iterator
from itertools import accumulate

from torch.profiler import ProfilerActivity, profile


def allocated_peak(compute: Callable[[], object]) -> int:
    """The most bytes that one call of `compute` had allocated at a time."""
    return max(accumulate(_changes(compute)))


def held_bytes(compute: Callable[[], object]) -> int:
    """Bytes that the result of `compute` holds, with the graph behind it; what a first call leaves is not counted."""
    compute()
    return sum(_changes(compute))


def _changes(compute: Callable[[], object]) -> Iterator[int]:
    """Each allocation, and each release as a negative number, while `compute` is called and its result is held."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        kept = compute()
    del kept
    changes = [event.nbytes() for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    if not changes:
        raise RuntimeError("the profiler saw no memory")
    return iter(changes)
