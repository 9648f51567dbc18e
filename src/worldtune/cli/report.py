"""`worldtune report`: rebuild the HTML report of an evaluation."""

from pathlib import Path
from typing import Annotated

import typer

from worldtune.cli.terminal.output import echo


def report(
    run_or_results: Annotated[
        Path, typer.Argument(metavar="RUN_OR_RESULTS", help="A run or report folder, or its results.json.")
    ],
    votes: Annotated[
        list[Path] | None, typer.Option(help="Blind votes saved by the report's page; repeatable.")
    ] = None,
) -> None:
    """Rebuild an evaluation's HTML report from its results.json and videos.

    No clip is generated and no score is computed. Votes are added to the table of metrics.

    Example:

        worldtune report runs/demo
    """
    from worldtune.evaluation.report.folder import find_results, rebuild_report

    echo(rebuild_report(find_results(run_or_results), votes or []))
