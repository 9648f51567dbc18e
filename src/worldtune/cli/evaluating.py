"""An evaluation of runs as the command line does it: generate, compare, report."""

from collections.abc import Mapping
from dataclasses import replace
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
    """Generate held-out clips of the runs (all, or the first `clips`) and some of the base's domain; write the report.

    Raises UserError as `read_runs` does, when the runs' dataset is not what it was, or there is no place to write.
    """
    from worldtune.evaluation.case import BASE_DOMAIN
    from worldtune.evaluation.compare import compare
    from worldtune.evaluation.contact_sheet import write_contact_sheet
    from worldtune.evaluation.figures import run_figures
    from worldtune.evaluation.report import ReportContent, check_report_folder, write_report
    from worldtune.evaluation.runs import forgetting_of, lineage_of, read_runs, refuse_changed_data
    from worldtune.evaluation.suite import candidates_of, cases_of
    from worldtune.training.data import default_store, prepare_held_out

    check_report_folder(report)  # before the long work
    runs = read_runs(folders)
    with progress("encode") as advance:
        held_out = prepare_held_out(world, runs[0].recipe, default_store(), clips, advance)
    refuse_changed_data(runs, held_out.digest)
    # the two datasets may give their episodes the same names
    others = [replace(c, clip=replace(c.clip, episode=f"{BASE_DOMAIN} {c.clip.episode}")) for c in held_out.base_domain]
    cases = [*cases_of(held_out.clips, title), *cases_of(others, BASE_DOMAIN)]
    with progress("generate") as advance:
        candidates = candidates_of(
            world,
            {run.name: run.folder.adapter for run in runs},
            [*held_out.clips, *others],
            plan,
            lambda name, done, total: advance(done, total, name),
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
        write_contact_sheet(sheet, cases[: len(held_out.clips)], candidates, columns=["reference", "base", *folders])
    return comparison, runs, figures
