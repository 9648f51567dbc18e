"""Measure in a separate process, because a process does not return all memory that it has used."""

import json
import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]


def measure_in_subprocess(script: str, *arguments: str) -> dict[str, float]:
    """Run a Python script and return the JSON of numbers on its last line; `arguments` are its sys.argv[1:]."""
    command = [sys.executable, "-c", script, *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
