"""Encoded clips as training batches.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels, N text tokens, D text width.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from worldtune.core.seeds import derive_seed
from worldtune.data.clip import Clip
from worldtune.latents.store import Entry, load_tensor


@dataclass(frozen=True)
class LatentClip:
    """A clip with the store's entries of its latent (C, T, H, W) and its text (N, D)."""

    clip: Clip
    latent: Entry
    text: Entry


_load_text = lru_cache(maxsize=128)(load_tensor)  # 2 MiB each for the 2B


def load_batch(clips: list[LatentClip]) -> tuple[Tensor, Tensor]:
    """Return z_BCTHW and text_BND of some clips."""
    return torch.stack([load_tensor(c.latent) for c in clips]), torch.stack([_load_text(c.text) for c in clips])


class ClipOrder:
    """The order of clips: `order[n]` is the clip of the n-th sample. Every epoch shuffles all clips, by the seed.

    The order has no state, so that a resumed run draws the same clips as an uninterrupted run.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count = count
        self.seed = seed
        self._epoch = lru_cache(maxsize=2)(self._shuffle)

    def _shuffle(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, epoch))
        return torch.randperm(self.count, generator=generator).tolist()

    def __getitem__(self, sample: int) -> int:
        epoch, position = divmod(sample, self.count)
        return self._epoch(epoch)[position]
