"""`worldtune doctor`: check the machine and the installation, one line for each check."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from worldtune.cli.terminal.output import echo, echo_json


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check whether this machine and this installation can run worldtune.

    Checks Python, every dependency's version, threads, GPU, memory, disk, H.264, and the files of the packaged pocket
    world. Exits with 2 if something is broken, and says how to fix it.

    Example:

        worldtune doctor --json > doctor.json
    """
    from worldtune.cli.machine import check_machine

    checks = []
    for check in check_machine(Path.cwd()):
        checks.append(check)
        if not as_json:
            echo(f"{check.state:<7} {check.name:<23} {check.found}")
            if check.hint:
                echo(f"{'':<7} {'':<23} {check.hint}")
    broken = [check.name for check in checks if check.state == "broken"]
    if as_json:
        echo_json({"ok": not broken, "checks": [asdict(check) for check in checks]})
    else:
        echo(f"broken: {', '.join(broken)}" if broken else "ready")
    if broken:
        raise typer.Exit(2)
