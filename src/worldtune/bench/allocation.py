"""Bytes that are really allocated: by torch's own allocator on the CPU, and for backward by autograd."""

import weakref
from collections.abc import Callable

import torch
from torch import Tensor, UntypedStorage, nn
from torch.profiler import ProfilerActivity, profile


def allocated_peak(compute: Callable[[], object]) -> int:
    """The most bytes that one call of `compute` had allocated at a time, scratch memory of operations included."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        kept = compute()
    del kept
    live = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    if not peak:
        raise RuntimeError("the profiler saw no memory")
    return peak


def saved_bytes(forward: Callable[[], Tensor], model: nn.Module) -> int:
    """Bytes kept for backward after `forward`: each storage once, those of the model's own tensors left out."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    seen: weakref.WeakSet[UntypedStorage] = weakref.WeakSet()

    def keep(tensor: Tensor) -> Tensor:
        seen.add(tensor.untyped_storage())
        return tensor.detach()  # a result that its own graph kept would never be let go of

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = forward()
    total = sum(storage.nbytes() for storage in seen if storage.data_ptr() not in own)
    del loss  # with it goes the graph, which kept them until here
    return total
