"""`worldtune doctor`: the machine and the installation, one line a check."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from worldtune.cli.output import echo, echo_json


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say whether this machine and this installation can do the work.

    Looks at Python, every dependency's version, threads, GPU, memory, disk, H.264, and whether the files of the
    packaged pocket world are whole. Exits with 2 when something has to be mended, and says how.

    Example:

        worldtune doctor --json > doctor.json
    """
    from worldtune.cli.machine import check_machine

    checks = []
    for check in check_machine(Path.cwd()):
        checks.append(check)
        if not as_json:
            echo(f"{check.state:<7} {check.name:<23} {check.found}")
            if check.mend:
                echo(f"{'':<7} {'':<23} {check.mend}")
    broken = [check.name for check in checks if check.state == "broken"]
    if as_json:
        echo_json({"ok": not broken, "checks": [asdict(check) for check in checks]})
    else:
        echo(f"to be mended: {', '.join(broken)}" if broken else "ready")
    if broken:
        raise typer.Exit(2)
