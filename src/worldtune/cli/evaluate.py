"""`worldtune evaluate`: the base, adapters and other candidates on the same held-out clips."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worldtune.cli.executor import Executor
from worldtune.cli.output import echo

if TYPE_CHECKING:
    from worldtune.evaluation.contenders import Contender


def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of one base; the first is what the verdict is of.")],
    out: Annotated[Path | None, typer.Option(help="The report's folder; RUN/report when not given.")] = None,
    candidate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH", help="Another one: an adapter or a release, a world model, or a folder of mp4 files."
        ),
    ] = None,
    incumbent: Annotated[str | None, typer.Option(help="Which of the candidates is in use now.")] = None,
    gates: Annotated[
        Path | None, typer.Option(help="A gates file: exit code 3 where it fails, 4 for too little.")
    ] = None,
    clips: Annotated[int | None, typer.Option(min=1, help="Only the first held-out clips of each dataset.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Videos of each clip, of this many seeds.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Evaluations of the denoiser for each clip.")] = 12,
    guidance: Annotated[int, typer.Option(min=0, max=7, help="v + g·(v − v_dropped).")] = 0,
    seed: Annotated[int, typer.Option(min=0, max=2**31, help="The noise's first seed, which all share.")] = 0,
    place: Annotated[str | None, typer.Option(help="Columns of the states that are the gripper's x, y, z.")] = None,
    other_task: Annotated[bool, typer.Option("--other-task", help="Each clip with another task's prompt too.")] = False,
    judge: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="A vision-language model: its name at the endpoint, or its folder."),
    ] = None,
    judge_endpoint: Annotated[str | None, typer.Option(help="OpenAI-compatible, as http://localhost:8000/v1.")] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND=FOLDER", help="Weights you have: lpips, dino, clip, videomae."),
    ] = None,
    judge_repeats: Annotated[int, typer.Option(min=1, help="How often the judge is asked each question.")] = 1,
    rerun: Annotated[bool, typer.Option("--rerun", help="A Rerun recording of all videos too.")] = False,
    executor: Annotated[Executor, typer.Option(help="local: here; ray: many GPUs of a Ray cluster.")] = Executor.local,
    workers: Annotated[int, typer.Option(min=1, help="Of --executor ray: processes, each with a GPU.")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; a GPU where there is one.")] = None,
) -> None:
    """Compare the base, adapters and other candidates on held-out clips.

    Every candidate starts from the same first frame, prompt and noise. The report has paired differences with
    intervals, the worst clips first, and controls that every adapter must beat. Generated videos and scores are kept:
    what was cut off goes on.

    Example:

        worldtune evaluate runs/pocket-new-view --clips 8 --seeds 2
    """
    from worldtune.cli.judging import open_judge
    from worldtune.cli.progress import progress
    from worldtune.errors import UserError
    from worldtune.evaluation.contenders import read_contenders
    from worldtune.evaluation.evaluate import Question
    from worldtune.evaluation.evaluate import evaluate as answer_to
    from worldtune.evaluation.gates import EXIT_CODES, NOTHING_ASKED, outcome_of, read_policy
    from worldtune.evaluation.learned.weights import read_weights
    from worldtune.evaluation.place import read_columns
    from worldtune.evaluation.report.verdict import verdict
    from worldtune.evaluation.runs import recipe_of
    from worldtune.evaluation.sampling_plan import SamplingPlan
    from worldtune.worlds.load import open_world_on

    report = out or runs[0] / "report"
    base = recipe_of(runs[0]).base
    named = {run.resolve().name: run for run in runs}
    if len(named) < len(runs):
        what = f"runs share a name: {', '.join(run.resolve().name for run in runs)}"
        raise UserError(what, where="command line", mend="A report tells runs apart by folder name: rename one.")
    settings = ["--out", report, "--steps", steps, "--guidance", guidance, "--seed", seed]
    for name, value in (
        ("incumbent", incumbent),
        ("gates", gates),
        ("clips", clips),
        ("place", place),
        ("device", device),
        ("judge", judge),
        ("judge-endpoint", judge_endpoint),
    ):
        settings += [f"--{name}", value] if value is not None else []
    settings += [part for each in candidate or [] for part in ("--candidate", each)]
    settings += [part for each in weights or [] for part in ("--weights", each)]
    settings += ["--seeds", seeds] if seeds > 1 else []
    settings += ["--other-task"] if other_task else []
    if workers > 1 and executor == Executor.local:
        what = "workers are those of a Ray cluster"
        raise UserError(what, where="--workers", mend="Add --executor ray, or leave it out.")
    if (judge_endpoint or judge_repeats > 1) and not judge:
        what = "an endpoint or repeats for a judge without a name"
        raise UserError(what, where="--judge", mend="Name the model by --judge.")
    settings += ["--judge-repeats", judge_repeats] if judge_repeats > 1 else []
    located = [_located(each) for each in candidate or []]
    question = Question(
        runs=named,
        plan=SamplingPlan(steps, guidance, tuple(range(seed, seed + seeds))),
        title=f"Held-out clips of {next(iter(named))}",
        reproduce=shlex.join(["worldtune", "evaluate", *map(str, [*runs, *settings])]),
        contenders=_pinned(read_contenders([path for path, _, _ in located]), [card for _, _, card in located]),
        remarks=tuple(remark for _, remark, _ in located if remark),
        incumbent=incumbent,
        policy=read_policy(gates) if gates else NOTHING_ASKED,
        clips=clips,
        columns=read_columns(place),
        other_task=other_task,
        weights=read_weights(weights or []),
        rerun=rerun,
        ray_workers=workers if executor == Executor.ray else None,
        judge=open_judge(judge, judge_endpoint, judge_repeats, device) if judge else None,
    )
    answer = answer_to(open_world_on(device, base), question, report, progress)
    for name, rulings in answer.rulings.items():
        echo(verdict(answer.comparison, name).text)
        echo(f"{name}: gates: {outcome_of(rulings)}")
        for ruling in rulings:
            if ruling.outcome != "pass":
                echo(f"  {ruling.gate}: {ruling.outcome}: {ruling.why}")
    if answer.judge and not answer.judge.fates.get("answered"):
        faults = "; ".join(answer.judge.faults) or "it gave no answer that can be read"
        echo(f"the judge judged nothing: {faults}", err=True)
    echo(report / "index.html")
    outcome = outcome_of([each for name, its in answer.rulings.items() if name != incumbent for each in its])
    if gates or outcome == "fail":  # a candidate that provably does nothing fails without any file
        raise typer.Exit(EXIT_CODES[outcome])


def _pinned(contenders: "dict[str, Contender]", cards: list[str | None]) -> "dict[str, Contender]":
    """The candidates, of whose releases nothing else is read than what the registry verified."""
    from worldtune.errors import UserError
    from worldtune.evaluation.contenders import AdapterFolder

    pinned = dict(contenders)
    for (name, its), card in zip(contenders.items(), cards, strict=True):
        if card is None:
            continue
        if not isinstance(its, AdapterFolder):
            what = "the release's folder was changed while it was looked at"
            raise UserError(what, where=str(its.path), mend="Run it again.")
        pinned[name] = replace(its, card=card)
    return pinned


def _located(candidate: str) -> tuple[str, str | None, str | None]:
    """NAME=PATH with a folder where a release is named, which release that is, and its card's digest."""
    from worldtune.cli.named_adapter import used

    name, equals, path = candidate.partition("=")
    if not (equals and path):
        return candidate, None, None
    its = used(path)
    return f"{name}={its.path}", f"{name} is {its.release}." if its.release else None, its.card
