"""A measurement in a process of its own: memory that was once taken is not given back."""

import json
import subprocess
import sys


def measured_alone(script: str, *arguments: str) -> dict[str, float]:
    """The JSON of numbers on the last line that a Python script prints; `arguments` are its sys.argv[1:]."""
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
