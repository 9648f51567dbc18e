"""`worldtune demo`: the main job on the pocket world, from demonstrations to a report."""

import shlex
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from worldtune.cli.output import echo

NEW_VIEW_GOALS = {
    "held-out loss, share of the base's": 0.2,
    "PSNR gain over the base": 2.5,
    "PSNR gain, lower end of the 95 % interval": 1.5,
    "share of clips better than the base": 0.95,
    "PSNR over frozen first frame": 1.0,
    "base: PSNR over frozen first frame": 0.0,  # at most: a new camera or task is what the base cannot do
    "base-domain loss, share of the base's": 2.0,
}
LORA_SECONDS, SECONDS, GIGABYTES = 90.0, 300.0, 3.0
STEPS = 10
QUICK = ["train.steps=6", "train.warmup=2", "train.checkpoint_every=6", "validate={every: 6, sigmas: 1}", "replay=null"]
CLIPS = 24


def demo(
    out: Annotated[Path, typer.Option(help="Folder for runs, report and figures.")] = Path("runs/demo"),
    quick: Annotated[bool, typer.Option("--quick", help="A few steps and clips: does everything work?")] = False,
) -> None:
    """Tune the pocket world to a new camera and a new task, and show that it helped.

    A LoRA and a DoRA learn a camera that the base has never seen from 24 demonstrations, another LoRA a new
    task; all are measured on held-out episodes against the base and a frozen first frame.

    Example:

        worldtune demo --quick
    """
    from worldtune.bench.machine import machine, peak_gigabytes
    from worldtune.cli.figures import say
    from worldtune.cli.progress import progress
    from worldtune.cli.recipes import find_recipe
    from worldtune.cli.training import train_run
    from worldtune.evaluation.evaluate import Question, evaluate
    from worldtune.evaluation.report.contact_sheet import write_contact_sheet
    from worldtune.evaluation.report.figures import figure
    from worldtune.evaluation.report.folder import check_report_folder
    from worldtune.evaluation.report.verdict import verdict
    from worldtune.evaluation.sampling_plan import SamplingPlan
    from worldtune.files import make_folder, write_json
    from worldtune.training.run import RunFolder
    from worldtune.worlds.load import open_world

    started = time.monotonic()
    make_folder(out)
    shorter = QUICK if quick else []
    world = open_world("pocket")
    jobs = {
        "lora": ("pocket-new-view", []),
        "dora": ("pocket-new-view", ["adapter.method=dora"]),
        "new-task": ("pocket-new-task", []),
    }
    for report in ("report", "report-new-task"):
        check_report_folder(out / report)
    recipes = {
        name: find_recipe(recipe, [*overrides, *shorter, f"name=demo-{name}"])
        for name, (recipe, overrides) in jobs.items()
    }
    for name, recipe in recipes.items():
        RunFolder(out / name).clear(recipe)
    for name, recipe in recipes.items():
        train_run(world, recipe, RunFolder(out / name), resume=False)

    plan, clips = SamplingPlan(steps=2 if quick else STEPS), 3 if quick else CLIPS
    reproduce = shlex.join(["worldtune", "demo", "--out", str(out), *(["--quick"] if quick else [])])
    shared: dict[str, Any] = {"plan": plan, "reproduce": reproduce, "clips": clips}
    of_view = Question(
        runs={"LoRA": out / "lora", "DoRA": out / "dora"},
        title="A camera the base has never seen",
        goals=NEW_VIEW_GOALS | {"LoRA: training time": LORA_SECONDS},
        **shared,
    )
    of_task = Question(
        runs={"LoRA new task": out / "new-task"},
        title="A task the base has never seen",
        goals=NEW_VIEW_GOALS | {"LoRA new task: training time": LORA_SECONDS},
        **shared,
    )
    found = evaluate(world, of_view, out / "report", progress)
    view, figures = found.comparison, found.figures
    shown = found.suite.cases[: len(view.headline.cases)]
    write_contact_sheet(out / "contact_sheet.png", shown, found.candidates, ["reference", "base", "LoRA", "DoRA"])
    found = evaluate(world, of_task, out / "report-new-task", progress)
    task, task_figures = found.comparison, found.figures
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
        echo(verdict(comparison, name).text)
    echo(f"report: {out / 'report' / 'index.html'}   picture: {out / 'contact_sheet.png'}")
