"""An evaluation of runs as the command line does it: generate, compare, report."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldtune.cli.progress import progress

if TYPE_CHECKING:
    from worldtune.evaluation.comparison import Comparison
    from worldtune.evaluation.runs import TrainedRun
    from worldtune.evaluation.suite import SamplingPlan
    from worldtune.worlds.world import World


def evaluate_runs(
    world: "World",
    folders: Mapping[str, Path],
    report: Path,
    plan: "SamplingPlan",
    *,
    title: str,
    reproduce: str,
    goals: Mapping[str, float],
    clips: int | None = None,
    sheet: Path | None = None,
) -> tuple["Comparison", list["TrainedRun"], list[dict[str, Any]]]:
    """Generate every held-out clip of the runs with the base and each adapter, and write the report."""
    from worldtune.evaluation.compare import compare
    from worldtune.evaluation.contact_sheet import write_contact_sheet
    from worldtune.evaluation.figures import run_figures
    from worldtune.evaluation.report import ReportContent, check_report_folder, write_report
    from worldtune.evaluation.runs import forgetting_of, lineage_of, read_runs
    from worldtune.evaluation.suite import candidates_of, cases_of
    from worldtune.training.data import default_store, prepare_data

    check_report_folder(report)  # before the long work
    runs = read_runs(folders)
    data = prepare_data(world, runs[0].recipe, default_store())
    held_out = data.held_out[:clips]
    cases = cases_of(held_out, title)
    with progress("generate") as advance:
        candidates = candidates_of(
            world,
            {run.name: run.folder.adapter for run in runs},
            held_out,
            plan,
            lambda n, i, total: advance(i, total, n),
        )
    comparison = compare(cases, candidates)
    figures = run_figures(comparison, runs, dict(goals))
    content = ReportContent(
        title=title,
        verdict_subject=runs[0].name,
        comparison=comparison,
        cases=cases,
        candidates=candidates,
        figures=figures,
        curves={run.name: run.rows for run in runs},
        lineage=lineage_of(runs),
        forgetting=forgetting_of(runs),
        reproduce=reproduce,
        fps=runs[0].recipe.data.fps,
    )
    write_report(report, content)
    if sheet:
        write_contact_sheet(sheet, cases, candidates, columns=["reference", "base", *folders])
    return comparison, runs, figures
