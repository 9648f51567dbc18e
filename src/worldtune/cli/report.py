"""`worldtune report`: draw the HTML report of an evaluation again."""

from pathlib import Path
from typing import Annotated

import typer

from worldtune.cli.output import echo


def report(
    run_or_results: Annotated[
        Path, typer.Argument(metavar="RUN_OR_RESULTS", help="A run or report folder, or its results.json.")
    ],
    votes: Annotated[
        list[Path] | None, typer.Option(help="Blind votes that the report's page saved; may be given again.")
    ] = None,
) -> None:
    """Draw an evaluation's HTML report again, from its results.json and the videos beside it.

    No clip is generated and no score computed; votes are counted into the table of metrics. Example:

        worldtune report runs/demo
    """
    from worldtune.evaluation.report.folder import find_results, rebuild_report

    echo(rebuild_report(find_results(run_or_results), votes or []))
