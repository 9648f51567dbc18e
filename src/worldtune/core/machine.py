"""The machine that figures are measured on, and the memory that a process used."""

import os
import platform
import resource
from pathlib import Path
from typing import Any

import psutil
import torch

from worldtune.core.code_commit import code_commit


def machine() -> dict[str, Any]:
    """Return the processor, cores, memory, versions and code commit, for the JSON of figures."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "memory_gigabytes": round(psutil.virtual_memory().total / 1e9, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": code_commit(),
    }


def peak_gigabytes() -> float:
    """Return the largest resident memory of this process so far, in units of 10⁹ bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
