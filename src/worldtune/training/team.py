"""The processes of a training run: one, or those that `torchrun` started.

Every process has the whole adapter. Clips are shared out over the replicas, a replica being one process or, with
context parallelism, the processes that share each clip. After backward the adapter's gradients are summed over all,
in one message, so that N processes make the step that one would make with the same batch, but for rounding.
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
from worldtune.worlds.context_parallel import Context

PATIENCE = timedelta(seconds=10)


@dataclass(frozen=True)
class Team:
    """This process's `rank` of `size`, `local` of them on each machine; `context` is the group it shares clips with."""

    rank: int = 0
    size: int = 1
    local: int = 1
    context: Context | None = None

    @property
    def leads(self) -> bool:
        """It writes the run's files and speaks to the user."""
        return self.rank == 0

    @property
    def replicas(self) -> int:
        return self.size // self._together

    @property
    def _together(self) -> int:
        return self.context.size if self.context else 1

    def share(self, count: int) -> range:
        """The places among `count` clips that fall to this replica."""
        replica = self.rank // self._together
        return range(replica * count // self.replicas, (replica + 1) * count // self.replicas)

    def joined(self, x: Tensor) -> Tensor:
        """`x` with every replica's part, where each has zeros in the others'."""
        return self._sum(x.clone()) / self._together if self.size > 1 else x

    def largest_share(self, count: int) -> int:
        """The most of `count` clips that fall to a replica."""
        return -(-count // self.replicas)

    def total(self, number: float) -> float:
        """The sum of every replica's number."""
        return self.joined(torch.tensor(number, dtype=torch.float64)).item()

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Each process's gradients become the sum over all."""
        if self.size == 1:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = self._sum(torch.cat([gradient.flatten() for gradient in gradients]))
        for parameter, part in zip(parameters, flat.split([g.numel() for g in gradients]), strict=True):
            parameter.grad = part.view_as(parameter)

    def refuse_difference(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Raises UserError, which names them, when some processes' tensors are not those of process 0."""
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
            what = f"at step {step} the adapter of process {_listed(others)} is not that of process 0"
            raise UserError(
                what, where=f"process {self.rank} of {self.size}", mend="Resume; if it recurs, report this."
            )

    def follow(self, number: int) -> int:
        """What process 0 says."""
        return int(self._sum(torch.tensor(int(number) if self.leads else 0))) if self.size > 1 else number

    def wait(self) -> None:
        """Until all have come here."""
        if self.size > 1:
            self._sum(torch.zeros(1))

    def _sum(self, x: Tensor) -> Tensor:
        with self.naming_the_lost():
            dist.all_reduce(x)
        return x

    @contextmanager
    def naming_the_lost(self) -> Iterator[None]:
        """Within, a message that does not come through is a UserError that names the processes which ended."""
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not _is_of_a_message(error):
                raise
            raise UserError(
                f"process {_listed(self._missing()) or '?'} ended, and the run with it",
                where=f"process {self.rank} of {self.size}",
                mend="Look at its own last line; then go on with --resume.",
            ) from error

    def _missing(self) -> list[int]:
        """The processes that do not answer: each that noticed says that it is still there."""
        store: Any = dist.distributed_c10d._get_default_store()
        store.set(f"here/{self.rank}", "")
        missing = []
        for rank in range(self.size):
            try:
                store.wait([f"here/{rank}"], PATIENCE)
            except RuntimeError:  # dist.DistStoreError, and a store whose own process is gone
                missing.append(rank)
        return missing


ALONE = Team()


def join_team(context: int = 1) -> Team:
    """The team that `torchrun` started this process in, its clips shared by `context` processes each.

    Raises UserError when the number of processes is no multiple of `context`.
    """
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    refuse_context(context, size)
    if size == 1:
        return ALONE
    if torch.cuda.is_available() and "LOCAL_RANK" in os.environ:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(dist.destroy_process_group)  # else gloo's threads may abort a process that ends well
    if context == 1:
        return Team(rank, size, int(os.environ.get("LOCAL_WORLD_SIZE", size)))
    groups = [dist.new_group(list(range(first, first + context))) for first in range(0, size, context)]
    shared = Context(groups[rank // context], rank % context, context)
    return Team(rank, size, int(os.environ.get("LOCAL_WORLD_SIZE", size)), shared)


def refuse_context(context: int, size: int) -> None:
    """Raises UserError when `size` processes cannot share clips by `context` of them each."""
    if size % context:
        what = f"machine.context is {context}, but the run has {size} process{'es' if size > 1 else ''}"
        raise UserError(
            what, where="torchrun", mend="Start a multiple of it: torchrun --nproc-per-node N --no-python …."
        )


def own_device(name: str | None) -> str | None:
    """This process's GPU of those on its machine, where there are and no device is asked for by name."""
    several = "LOCAL_RANK" in os.environ and torch.cuda.is_available()
    return f"cuda:{os.environ['LOCAL_RANK']}" if several and name in (None, "cuda") else name


def _is_of_a_message(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error)  # whose errors have no class of their own


def _listed(ranks: list[int]) -> str:
    return ", ".join(map(str, ranks))
