"""Bytes that torch's own allocator was asked for on the CPU, scratch memory of operations included."""

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile


def allocated_peak(compute: Callable[[], object]) -> int:
    """The most bytes that one call of `compute` had allocated at a time."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        kept = compute()
    del kept
    live = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    assert peak > 0, "the profiler saw no memory"
    return peak
