"""A frozen base in parts: each process keeps a share of every block, and a block is whole while it computes.

PyTorch's FSDP2 splits the weights and gathers them; since they are frozen, nothing of them is ever reduced. Adapters
stay whole on every process: they are small, and are then trained, saved and exported as by one process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard


class Shards:
    """Splits `blocks` over `mesh`; `visit(block)` makes one whole. The next one is fetched meanwhile."""

    def __init__(self, blocks: nn.ModuleList, mesh: DeviceMesh) -> None:
        for block in blocks:
            trained = {parameter for parameter in block.parameters() if parameter.requires_grad}
            fully_shard(block, mesh=mesh, ignored_params=trained)
        self._blocks: list[Any] = list(blocks)
        self._place = {block: place for place, block in enumerate(blocks)}
        self._last = 0

    @contextmanager
    def visit(self, block: Any) -> Iterator[None]:
        place = self._place[block]
        onward = 1 if place >= self._last else -1  # the forward pass, or the backward one
        self._last = place
        block.unshard()
        if 0 <= place + onward < len(self._blocks):
            self._blocks[place + onward].unshard(async_op=True)
        try:
            yield
        finally:
            block.reshard()
