"""`worldtune demo`: the whole workflow on the pocket world, from demonstrations to a report."""

import shlex
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from worldtune.cli.demo_goals import (
    CLIPS,
    FULL_FINE_TUNING,
    GIGABYTES,
    GOALS,
    LORA_SECONDS,
    QUICK,
    SECONDS,
    STEPS,
    new_view_figures,
)
from worldtune.cli.terminal.output import echo, say_first


def demo(
    out: Annotated[Path, typer.Option(help="Folder for runs, report and figures.")] = Path("runs/demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Use a few steps and clips, to test that everything works.")
    ] = False,
) -> None:
    """Tune the pocket world to a new camera and a new task, and show that it helped.

    From 24 demonstrations each, a LoRA and a DoRA learn a camera that the base has never seen, and another LoRA learns
    a new task. The default gates compare all of them with the base and a frozen first frame on held-out episodes.

    Example:

        worldtune demo --quick
    """
    say_first("demo: opening the pocket world")
    from worldtune.api import train
    from worldtune.cli.terminal.figures import say
    from worldtune.cli.terminal.progress import bars
    from worldtune.cli.training.printing import start_printer
    from worldtune.core.files import make_folder, write_json
    from worldtune.core.machine import machine, peak_gigabytes
    from worldtune.core.strict_io import read_json
    from worldtune.evaluation.comparison.gates import DEFAULT, describe_outcome, read_gate_policy
    from worldtune.evaluation.evaluate import EvaluationRequest, evaluate
    from worldtune.evaluation.report.contact_sheet import write_contact_sheet
    from worldtune.evaluation.report.figures import figure
    from worldtune.evaluation.report.folder import check_report_folder
    from worldtune.evaluation.report.verdict import verdict
    from worldtune.evaluation.sampling_plan import SamplingPlan
    from worldtune.models.load import open_world
    from worldtune.training.recipe import find_recipe
    from worldtune.training.run_folder import RunFolder

    started = time.monotonic()
    make_folder(out)
    quick_overrides = QUICK if quick else []
    world = open_world("pocket")
    jobs = {
        "lora": ("pocket-new-view", []),
        "dora": ("pocket-new-view", ["adapter.method=dora"]),
        "new-task": ("pocket-new-task", []),
    }
    for report in ("report", "report-new-task"):
        check_report_folder(out / report)
    recipes = {
        name: find_recipe(recipe, [*overrides, *quick_overrides, f"name=demo-{name}"])
        for name, (recipe, overrides) in jobs.items()
    }
    for name, recipe in recipes.items():
        RunFolder(out / name).clear(recipe)
    for name, recipe in recipes.items():
        with bars() as work:
            train(recipe, out / name, base=world, progress=work, on_start=start_printer(work, recipe, name))

    plan, clips = SamplingPlan(steps=2 if quick else STEPS), 3 if quick else CLIPS
    reproduce = shlex.join(["worldtune", "demo", "--out", str(out), *(["--quick"] if quick else [])])
    policy = read_gate_policy(DEFAULT)
    shared: dict[str, Any] = {"plan": plan, "reproduce": reproduce, "clips": clips, "policy": policy}
    of_view = EvaluationRequest(
        runs={"LoRA": out / "lora", "DoRA": out / "dora"},
        title="A camera the base has never seen",
        goals=GOALS | {"LoRA: training time": LORA_SECONDS},
        **shared,
    )
    of_task = EvaluationRequest(
        runs={"LoRA new task": out / "new-task"},
        title="A task the base has never seen",
        goals=GOALS | {"LoRA new task: training time": LORA_SECONDS},
        **shared,
    )
    with bars() as work:
        result = evaluate(world, of_view, out / "report", work)
    view, figures, gate_results = result.comparison, result.figures, dict(result.gate_results)
    full = read_json(FULL_FINE_TUNING) if FULL_FINE_TUNING.exists() and not quick else None
    losses = {run.name: (run.first("held_out_loss"), run.last("held_out_loss")) for run in result.runs}
    figures = [*figures, *new_view_figures(view, losses, full)]
    shown = result.suite.cases[: len(view.headline.cases)]
    write_contact_sheet(out / "contact_sheet.png", shown, result.candidates, ["reference", "base", "LoRA", "DoRA"])
    with bars() as work:
        result = evaluate(world, of_task, out / "report-new-task", work)
    task, task_figures, gate_results = result.comparison, result.figures, gate_results | result.gate_results
    lora, dora = view.gain("LoRA"), view.gain("DoRA")
    why = "too few clips" if lora.low is None or dora.mean is None else None
    above = None if lora.low is None or dora.mean is None else dora.mean - lora.low
    figures = [
        *figures,
        figure("DoRA's gain above the lower end of LoRA's interval", above, "dB", "higher", 0.0, why),
        *(row | {"name": f"new task: {row['name']}"} for row in task_figures),
        figure("time of the demo", time.monotonic() - started, "s", "lower", SECONDS),
        figure("peak memory", peak_gigabytes(), "GB", "lower", GIGABYTES),
    ]
    write_json(out / "results.json", {"bench": "demo", "machine": machine(), "figures": figures})
    say(figures)
    for comparison, name in ((view, "LoRA"), (view, "DoRA"), (task, "LoRA new task")):
        statement = verdict(comparison, name)
        echo(statement.text, red=statement.tone == "bad")
        echo(f"  {describe_outcome(policy, gate_results[name])}")
    echo(f"report: {out / 'report' / 'index.html'}   contact sheet: {out / 'contact_sheet.png'}")
