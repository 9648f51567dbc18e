"""`worldtune dream-study`: measure whether dreams help a policy."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from worldtune.cli.terminal.output import echo, say_first


def dream_study(
    context: typer.Context,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value, such as draws=1.")] = None,
    target: Annotated[
        Literal["camera", "known", "task"], typer.Option(help="A new camera, a known camera or a new task.")
    ] = "camera",
    out: Annotated[Path | None, typer.Option(help="The folder (default: runs/dream-study-<target>).")] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Try every stage in minutes; it proves nothing.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes (default: one per core).")] = None,
) -> None:
    """Measure whether dreams help a policy, in a simulator.

    From a few demonstrations the study trains adapters and inverse dynamics, dreams from new first frames, and trains
    policies: on the real demonstrations alone, with dreams of the base, of LoRA and of DoRA, with dreams that the
    critics keep, with shuffled labels (a control), and with the true clips of the same first frames (an upper bound).
    The bounds come first: a task without room between them is not tested. Run it again to continue.

    Example:

        worldtune dream-study --smoke --out runs/smoke
    """
    if context.invoked_subcommand is not None:
        return
    say_first("dream-study: opening the simulator")
    import worldtune
    from worldtune.cli.terminal.progress import bars

    folder = out or Path("runs") / f"dream-study-{target}"
    with bars() as progress:
        study = worldtune.dream_study(
            folder, target=target, settings=settings or [], smoke=smoke, workers=workers, progress=progress
        )
    say_study(study.results)
    echo(f"report: {study.report}")


def report(
    studies: Annotated[list[Path], typer.Argument(help="Folders of studies; several become one page.")],
    out: Annotated[Path | None, typer.Option(help="The page's folder (default: that of the first study).")] = None,
) -> None:
    """Write the report of finished studies again, or join several into one page.

    Example:

        worldtune dream-study report runs/dream-study-camera runs/dream-study-known --out runs/dreams-report
    """
    import worldtune

    echo(f"report: {worldtune.join_dream_studies(studies, out)}")


def say_study(results: dict[str, Any]) -> None:
    """Print the success of each arm and the verdict."""
    for task, row in results["tasks"].items():
        echo(task)
        for arm, estimate in row["success"].items():
            echo(f"  {arm:10s} {estimate['mean']:4.0%}  [{estimate['low']:.0%}, {estimate['high']:.0%}]")
    echo(results["verdict"])


PARTS = {"report": report}
