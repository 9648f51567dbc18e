"""A sharded frozen base: each process keeps a shard of every block, and a block is whole while it computes.

PyTorch's FSDP2 shards and gathers the weights; they are frozen, so no gradients are reduced. Adapters stay whole on
every process: they are small, and are trained, saved and exported as in a single process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard


class ShardedBlocks:
    """Blocks sharded over `mesh`; inside `resident(block)` one block is whole while the next one is fetched."""

    def __init__(self, blocks: nn.ModuleList, mesh: DeviceMesh) -> None:
        for block in blocks:
            trained = {parameter for parameter in block.parameters() if parameter.requires_grad}
            fully_shard(block, mesh=mesh, ignored_params=trained)
        self._blocks: list[Any] = list(blocks)
        self._number = {block: number for number, block in enumerate(blocks)}
        self._last = 0

    @contextmanager
    def resident(self, block: Any) -> Iterator[None]:
        number = self._number[block]
        step = 1 if number >= self._last else -1  # the forward pass, or the backward one
        self._last = number
        block.unshard()
        if 0 <= number + step < len(self._blocks):
            self._blocks[number + step].unshard(async_op=True)
        try:
            yield
        finally:
            block.reshard()
