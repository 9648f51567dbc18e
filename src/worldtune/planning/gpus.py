"""Graphics cards by name: their memory, and what they compute in bfloat16.

Memory is what `nvidia-smi` reports as the card's total, speed the data sheet's dense bfloat16 with fp32 sums.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from worldtune.errors import UserError, did_you_mean

Column = TypeVar("Column", bound=str)
GIB = 2**30
RESERVED = 1 * GIB  # CUDA's context, libraries' workspaces and what the allocator cannot hand out: an estimate
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*G(?:i?B)?", re.IGNORECASE)


@dataclass(frozen=True)
class Gpu:
    """`teraflops` are None where only the memory is known."""

    name: str
    mebibytes: int
    teraflops: float | None

    @property
    def usable(self) -> int:
        """Bytes that tensors may have together."""
        return self.mebibytes * 2**20 - RESERVED


def first_that_fits(columns: Mapping[Column, Mapping[str, float]], usable: float) -> Column | None:
    """The first column whose phases all need no more than `usable`, in the same unit; None when none does."""
    return next((name for name, phases in columns.items() if max(phases.values()) <= usable), None)


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("rtx3090", 24576, 71.0),
        Gpu("rtx4080", 16376, 97.5),
        Gpu("rtx4090", 24564, 165.2),
        Gpu("rtx5090", 32607, 209.5),
        Gpu("rtx-a6000", 49140, 154.8),
        Gpu("rtx6000-ada", 49140, 364.2),
        Gpu("l4", 23034, 121.0),
        Gpu("l40s", 46068, 362.0),
        Gpu("a10g", 23028, 70.0),
        Gpu("a100-40", 40960, 312.0),
        Gpu("a100-80", 81920, 312.0),
        Gpu("h100", 81559, 989.4),
        Gpu("h200", 143771, 989.4),
        Gpu("b200", 183359, 2250.0),
    )
}


def find_gpu(name: str) -> Gpu:
    """Raises UserError, which names the nearest one, when no card of that name is known."""
    if gpu := GPUS.get(name.lower()):
        return gpu
    mend = did_you_mean(name.lower(), GPUS, f"One of: {', '.join(GPUS)}; or say --memory.")
    raise UserError(f"no such GPU: '{name}'", where="--gpu", mend=mend)


def gpu_with(memory: str) -> Gpu:
    """A card of "16GB", as makers count: in units of 2³⁰ bytes. Raises UserError for anything else."""
    found = SIZE.fullmatch(memory.strip())
    if not found:
        raise UserError(f"'{memory}' is no size", where="--memory", mend="Write it as 24GB.")
    if float(found[1]) * GIB <= RESERVED:
        raise UserError(f"of {memory} CUDA leaves nothing", where="--memory", mend="Name a larger card.")
    return Gpu(f"{float(found[1]):g} GB", round(float(found[1]) * 1024), None)
