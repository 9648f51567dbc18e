"""`worldtune evaluate`: the base and adapters on the same held-out clips."""

import shlex
from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of one base and one dataset.")],
    out: Annotated[Path | None, typer.Option(help="The report's folder; RUN/report when not given.")] = None,
    clips: Annotated[int | None, typer.Option(min=1, help="Only the first held-out clips.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Evaluations of the denoiser for each clip.")] = 12,
    guidance: Annotated[int, typer.Option(min=0, max=7, help="v + g·(v − v_dropped).")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the noise, which all candidates share.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; a GPU where there is one.")] = None,
) -> None:
    """Compare the base and adapters on held-out clips.

    Every candidate starts from the same first frame, prompt and noise. The report has paired differences with
    intervals, the worst clips first, and a frozen first frame as the control.

    Example:

        worldtune evaluate runs/pocket-new-view --clips 8
    """
    from worldtune.cli.evaluating import evaluate_runs
    from worldtune.errors import UserError
    from worldtune.evaluation.runs import recipe_of
    from worldtune.evaluation.suite import SamplingPlan
    from worldtune.evaluation.verdict import verdict
    from worldtune.worlds.load import open_world_on

    report = out or runs[0] / "report"
    base = recipe_of(runs[0]).base
    named = {run.resolve().name: run for run in runs}
    if len(named) < len(runs):
        what = f"runs share a name: {', '.join(run.resolve().name for run in runs)}"
        raise UserError(what, where="command line", mend="A report tells runs apart by folder name: rename one.")
    settings = ["--out", report, "--steps", steps, "--guidance", guidance, "--seed", seed]
    settings += ["--clips", clips] if clips else []
    comparison, trained, _ = evaluate_runs(
        open_world_on(device, base),
        named,
        report,
        SamplingPlan(steps, guidance, seed),
        title=f"Held-out clips of {next(iter(named))}",
        reproduce=shlex.join(["worldtune", "evaluate", *map(str, [*runs, *settings])]),
        goals={},
        clips=clips,
    )
    for run in trained:
        typer.echo(verdict(comparison, run.name).text)
    typer.echo(report / "index.html")
