"""Measured figures with their goals, and the figures of every evaluation of runs."""

from collections.abc import Sequence
from typing import Any, Literal

from worldtune.evaluation.cases.runs import TrainedRun
from worldtune.evaluation.report.comparison_figures import BASE_OVER_FROZEN, comparison_figures, gain_figures
from worldtune.evaluation.results import Comparison

Figure = dict[str, Any]


def figure(
    name: str,
    value: float | None,
    unit: str,
    better: Literal["higher", "lower"],
    goal: float | None = None,
    why: str | None = None,
) -> Figure:
    """Return one figure; `reached` is None without a goal. A value of None needs a reason in `why`."""
    reached = None
    if goal is not None:
        reached = value is not None and (value >= goal if better == "higher" else value <= goal)
    row: Figure = {"name": name, "value": value, "unit": unit, "goal": goal, "better": better, "reached": reached}
    return row | ({"why": why} if why else {})


def run_figures(comparison: Comparison, runs: Sequence[TrainedRun], goals: dict[str, float]) -> list[Figure]:
    """Return loss, gain and forgetting of each run. Keys of `goals` are figure names, with or without the run."""
    compared = comparison_figures(comparison)
    first = runs[0].first("held_out_loss")
    figures = [
        figure("base: held-out loss", first, "", "lower", why=None if first is not None else "not measured"),
        figure("base: PSNR", compared["base: PSNR"], "dB", "higher"),
        figure(BASE_OVER_FROZEN, compared[BASE_OVER_FROZEN], "dB", "lower", goals.get(BASE_OVER_FROZEN)),
    ]
    for run in runs:
        figures += _run_figures(comparison, run, goals)
    return figures


def _run_figures(comparison: Comparison, run: TrainedRun, goals: dict[str, float]) -> list[Figure]:
    rows: list[tuple[str, float | None, str, Literal["higher", "lower"]]] = [
        ("held-out loss", run.last("held_out_loss"), "", "lower"),
        ("held-out loss, share of the base's", run.ratio("held_out_loss"), "×", "lower"),
        *((name, value, unit, "higher") for name, value, unit in gain_figures(comparison, run.name)),
        ("base-domain loss, share of the base's", run.ratio("base_domain_loss"), "×", "lower"),
        ("training time", run.seconds, "s", "lower"),
    ]
    figures = []
    for name, value, unit, better in rows:
        full = f"{run.name}: {name}"
        goal, why = goals.get(full, goals.get(name)), "not measured" if value is None else None
        figures.append(figure(full, value, unit, better, goal, why))
    return figures
