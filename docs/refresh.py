"""Run the commands in docs/verbs.md again and write their output into it: `python docs/refresh.py`."""

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).parent / "verbs.md"
BLOCK = re.compile(r"```console\n(.*?)```\n", re.DOTALL)
REQUESTS = [
    {"name": name, "inference_type": "text2world", "prompt": f"Seen from above: the robot arm {does}.", "guidance": 0}
    for name, does in (("window", "opens the window"), ("reach", "reaches the red ball"))
]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "two.json").write_text(json.dumps(REQUESTS, indent=1) + "\n")
        PAGE.write_text(BLOCK.sub(lambda block: refreshed(block[1], folder), PAGE.read_text()))


def refreshed(block: str, folder: str) -> str:
    """Return the block with each command's current output, without colors and progress bars."""
    lines = []
    for command in commands(block):
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "120", "NO_COLOR": "1",
        }  # fmt: skip
        done = subprocess.run(
            command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        output = general(done.stdout + done.stderr, folder)
        lines += [f"$ {command}", *output]
        print("\n".join(lines[-1 - len(output) :]), flush=True)
    return "```console\n" + "\n".join(lines) + "\n```\n"


def general(text: str, folder: str) -> list[str]:
    """Return the lines that a command printed, without progress and without this machine's folders and kernel."""
    here = {f"{PAGE.resolve().parents[1]}/": "", folder: ".", platform.platform(): f"Linux-{platform.machine()}"}
    for local, generic in here.items():
        text = text.replace(local, generic)
    return [line.rstrip() for line in text.splitlines() if "━" not in line and not line.endswith(" …")]


def commands(page: str) -> list[str]:
    """Return the commands of a page, or of one of its blocks."""
    return [line.removeprefix("$ ") for line in page.splitlines() if line.startswith("$ ")]


if __name__ == "__main__":
    main()
