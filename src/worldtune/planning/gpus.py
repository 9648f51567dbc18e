"""Graphics cards by name: their memory and their bfloat16 speed.

Memory is the total that `nvidia-smi` reports. Speed is the data sheet's: dense bfloat16 with fp32 accumulation.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from worldtune.errors import UserError, did_you_mean

Column = TypeVar("Column", bound=str)
GIB = 2**30
RESERVED = 1 * GIB  # an estimate of CUDA's context, the libraries' workspaces and fragmentation
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*G(?:i?B)?", re.IGNORECASE)


@dataclass(frozen=True)
class Gpu:
    """A graphics card; `teraflops` is None if only its memory is known."""

    name: str
    mebibytes: int
    teraflops: float | None

    @property
    def usable(self) -> int:
        """Return the bytes that all tensors together may take."""
        return self.mebibytes * 2**20 - RESERVED


def first_that_fits(columns: Mapping[Column, Mapping[str, float]], usable: float) -> Column | None:
    """Return the first column whose phases all fit in `usable` (same unit), None if no column fits."""
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
    """Return the card of that name. Raise UserError with the nearest name if it is unknown."""
    if gpu := GPUS.get(name.lower()):
        return gpu
    hint = did_you_mean(name.lower(), GPUS, f"One of: {', '.join(GPUS)}; or use --memory.")
    raise UserError(f"no such GPU: '{name}'", where="--gpu", hint=hint)


def gpu_with(memory: str) -> Gpu:
    """Return a card with a memory such as "16GB", in units of 2³⁰ bytes as makers count. Raise UserError otherwise."""
    found = SIZE.fullmatch(memory.strip())
    if not found:
        raise UserError(f"'{memory}' is not a size", where="--memory", hint="Write it as 24GB.")
    if float(found[1]) * GIB <= RESERVED:
        raise UserError(f"CUDA alone takes all of {memory}", where="--memory", hint="Name a larger card.")
    return Gpu(f"{float(found[1]):g} GB", round(float(found[1]) * 1024), None)
