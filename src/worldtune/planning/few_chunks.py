"""Compute each kind of chunk of a clip once in the VAE, on tensors without data."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from worldtune.planning.flops import FlopCounter
from worldtune.planning.memory_tracker import MemoryTracker


def repeat_chunks(vae: AutoencoderKLWan, tracker: MemoryTracker) -> None:
    """Make the VAE compute each kind of chunk of a clip only once; `tracker` counts the repeats too."""
    for part in (vae.encoder, vae.decoder):
        part.forward = _Chunks(part.forward, tracker)


class _Chunks:
    """A VAE's encoder or decoder that computes each combination of input and cache shapes only once."""

    def __init__(self, compute: Callable[..., Tensor], tracker: MemoryTracker) -> None:
        self._compute, self._meter = compute, tracker
        self._known: dict[Any, tuple[int, int, torch.Size, torch.dtype]] = {}  # peak bytes, FLOPs, the output's form

    def __call__(self, x: Tensor, feat_cache: list[Any] | None = None, **rest: Any) -> Tensor:
        counter = FlopCounter.current
        shapes = (_shape_of(x), *map(_shape_of, feat_cache or ()), f"{rest.get('first_chunk')} {counter is None}")
        if shapes in self._known:
            needed, flops, shape, dtype = self._known[shapes]
            self._meter.peak = max(self._meter.peak, self._meter.live + needed)
            if counter:
                counter.total += flops
            return torch.empty(shape, dtype=dtype)
        peak, before, counted = self._meter.peak, self._meter.mark(), counter.total if counter else 0
        out = self._compute(x, feat_cache=feat_cache, **rest)
        needed, self._meter.peak = self._meter.peak - before, max(peak, self._meter.peak)
        if shapes[1:-1] == tuple(map(_shape_of, feat_cache or ())) and out.untyped_storage().nbytes() == out.nbytes:
            flops = counter.total - counted if counter else 0
            self._known[shapes] = needed, flops, out.shape, out.dtype
        return out


def _shape_of(entry: Any) -> Any:
    """Return the properties of a cache entry that decide its memory and how the next chunk is computed."""
    return (entry.shape, entry.dtype, entry.untyped_storage().nbytes()) if isinstance(entry, Tensor) else entry
