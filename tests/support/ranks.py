"""Real processes of one gloo process group, without a launcher."""

import os
import socket
from pathlib import Path

from support.warm import start_warm


def by_ranks(code: str, *arguments: str | Path, size: int = 2, cwd: Path | None = None) -> list[tuple[int, str, str]]:
    """Run `python -c CODE ARGUMENTS` once per rank with torchrun's variables; return exit codes and outputs."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    group = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    processes = [
        start_warm(code, *arguments, cwd=cwd, env=os.environ | group | {"RANK": str(rank)}) for rank in range(size)
    ]
    outputs = [process.communicate() for process in processes]
    return [(process.wait(), *output) for process, output in zip(processes, outputs, strict=True)]
