"""The processes of a training run: one, or those that `torchrun` started.

Every process has the whole adapter. A replica is one process or, with context parallelism, the processes that share
each clip; the clips are divided among the replicas. After backward the adapter's gradients are summed over all
processes in one message. N processes thus take the step that one would take on the same batch, except for rounding.
"""

import atexit
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from worldtune.errors import UserError
from worldtune.models.memory.context_parallel import ContextParallel

PATIENCE = timedelta(seconds=10)


@dataclass(frozen=True)
class Distributed:
    """This process's `rank` among `size`, `local` on each machine; `context` is the group that it shares clips with."""

    rank: int = 0
    size: int = 1
    local: int = 1
    context: ContextParallel | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files and messages."""
        return self.rank == 0

    @property
    def replicas(self) -> int:
        return self.size // self._replica_size

    @property
    def _replica_size(self) -> int:
        return self.context.size if self.context else 1

    def shard(self, count: int) -> range:
        """Return the positions, among `count` clips, of those that this replica computes."""
        replica = self.rank // self._replica_size
        return range(replica * count // self.replicas, (replica + 1) * count // self.replicas)

    def all_reduce(self, x: Tensor) -> Tensor:
        """Return the sum of `x` over the replicas."""
        return self._sum(x.clone()) / self._replica_size if self.size > 1 else x

    def largest_shard(self, count: int) -> int:
        """Return the largest number of clips, of `count`, that a replica computes."""
        return -(-count // self.replicas)

    def all_reduce_number(self, number: float) -> float:
        """Return the sum of a number over the replicas."""
        return self.all_reduce(torch.tensor(number, dtype=torch.float64)).item()

    def all_reduce_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each process's gradients by their sum over all processes."""
        if self.size == 1:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = self._sum(torch.cat([gradient.flatten() for gradient in gradients]))
        for parameter, part in zip(parameters, flat.split([g.numel() for g in gradients]), strict=True):
            parameter.grad = part.view_as(parameter)

    def check_replicas_equal(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Raise UserError that names the processes whose tensors differ from those of process 0."""
        if self.size == 1:
            return
        sha = hashlib.sha256()
        for name in sorted(tensors):
            sha.update(tensors[name].detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        table = torch.zeros(self.size, 32, dtype=torch.int64)
        table[self.rank] = torch.tensor(list(sha.digest()))
        self._sum(table)
        others = [rank for rank in range(self.size) if not torch.equal(table[rank], table[0])]
        if others:
            what = f"at step {step} the adapter of process {_join(others)} differs from that of process 0"
            raise UserError(
                what, where=f"process {self.rank} of {self.size}", hint="Resume; if it recurs, report this."
            )

    def broadcast(self, number: int) -> int:
        """Return process 0's number."""
        if self.size == 1:
            return number
        tensor = torch.tensor(int(number))
        with self.report_lost_ranks():
            dist.broadcast(tensor, src=0)
        return int(tensor)

    def barrier(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            with self.report_lost_ranks():
                dist.barrier()

    def _sum(self, x: Tensor) -> Tensor:
        with self.report_lost_ranks():
            dist.all_reduce(x)
        return x

    @contextmanager
    def report_lost_ranks(self) -> Iterator[None]:
        """Turn a failed message inside the block into a UserError that names the processes that ended."""
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not _is_communication_error(error):
                raise
            raise UserError(
                f"process {_join(self._missing()) or '?'} ended, which ended the run",
                where=f"process {self.rank} of {self.size}",
                hint="Read that process's last line, then continue with --resume.",
            ) from error

    def _missing(self) -> list[int]:
        """Return the processes that do not answer. Each process that noticed the failure reports itself here."""
        store: Any = dist.distributed_c10d._get_default_store()
        store.set(f"here/{self.rank}", "")
        missing = []
        for rank in range(self.size):
            try:
                store.wait([f"here/{rank}"], PATIENCE)
            except RuntimeError:  # dist.DistStoreError, or the process that holds the store is gone
                missing.append(rank)
        return missing


SINGLE_PROCESS = Distributed()


def init_distributed(context: int = 1) -> Distributed:
    """Join the process group that `torchrun` started, in which `context` processes share each clip.

    Raise UserError if the number of processes is not a multiple of `context`.
    """
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    check_context_parallel(context, size)
    if size == 1:
        return SINGLE_PROCESS
    if torch.cuda.is_available() and "LOCAL_RANK" in os.environ:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(dist.destroy_process_group)  # otherwise gloo's threads may abort at a normal exit
    if context == 1:
        return Distributed(rank, size, int(os.environ.get("LOCAL_WORLD_SIZE", size)))
    groups = [dist.new_group(list(range(first, first + context))) for first in range(0, size, context)]
    shared = ContextParallel(groups[rank // context], rank % context, context)
    return Distributed(rank, size, int(os.environ.get("LOCAL_WORLD_SIZE", size)), shared)


def check_context_parallel(context: int, size: int) -> None:
    """Raise UserError if `size` processes cannot form groups of `context`."""
    if size % context:
        what = f"machine.context_parallel is {context}, but the run has {size} process{'es' if size > 1 else ''}"
        hint = f"Start a multiple of {context}: torchrun --nproc-per-node N --no-python …."
        raise UserError(what, where="torchrun", hint=hint)


def local_device(name: str | None) -> str | None:
    """Return the GPU of this process under torchrun, if `name` is None or "cuda"; otherwise `name`."""
    has_local_gpu = "LOCAL_RANK" in os.environ and torch.cuda.is_available()
    return f"cuda:{os.environ['LOCAL_RANK']}" if has_local_gpu and name in (None, "cuda") else name


def _is_communication_error(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error)  # gloo raises plain RuntimeErrors


def _join(ranks: list[int]) -> str:
    return ", ".join(map(str, ranks))
