"""`worldtune evaluate`: compare the base, adapters and other candidates on the same held-out clips."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worldtune.cli.executor import Executor
from worldtune.cli.terminal.output import echo, say_first

if TYPE_CHECKING:
    from worldtune.evaluation.evaluate import EvaluationResult


def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of one base; the verdict is about the first.")],
    out: Annotated[Path | None, typer.Option(help="The report's folder (default: RUN/report).")] = None,
    candidate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH",
            help="Another candidate: an adapter or release, a base model, or a folder of mp4 files.",
        ),
    ] = None,
    incumbent: Annotated[str | None, typer.Option(help="The candidate that is in use now.")] = None,
    gates: Annotated[
        Path | None,
        typer.Option(help="A gates file, `default` or `dreams`: exit code 3 for fail, 4 for not enough evidence."),
    ] = None,
    clips: Annotated[int | None, typer.Option(min=1, help="Use only this many held-out clips of each dataset.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Videos per clip, each with its own seed.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Denoiser evaluations per clip.")] = 12,
    guidance: Annotated[
        int | None, typer.Option(min=0, max=7, help="v + g·(v − v_dropped) (default: the base's).")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**31, help="First seed of the noise, the same for all candidates.")
    ] = 0,
    gripper_columns: Annotated[str | None, typer.Option(help="State columns that hold the gripper's x, y, z.")] = None,
    other_task: Annotated[
        bool, typer.Option("--other-task", help="Also run each clip with another task's prompt.")
    ] = False,
    judge: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="A vision-language model: its name at the endpoint, or its folder."),
    ] = None,
    judge_endpoint: Annotated[
        str | None, typer.Option(help="OpenAI-compatible, such as http://localhost:8000/v1.")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND=FOLDER", help="Weights of a learned metric: lpips, dino, clip, videomae."),
    ] = None,
    judge_repeats: Annotated[int, typer.Option(min=1, help="How many times to ask the judge each question.")] = 1,
    rerun: Annotated[bool, typer.Option("--rerun", help="Also write a Rerun recording of all videos.")] = False,
    executor: Annotated[
        Executor, typer.Option(help="local: here; ray: on the GPUs of a Ray cluster.")
    ] = Executor.local,
    workers: Annotated[int, typer.Option(min=1, help="With --executor ray: processes, each with one GPU.")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu or cuda (default: a GPU if there is one).")] = None,
) -> None:
    """Compare the base, adapters and other candidates on held-out clips.

    Every candidate starts from the same first frame, prompt and noise. The report has paired differences with
    intervals, the worst clips first, and controls that every adapter must beat. Generated videos and scores are
    cached, so an interrupted evaluation resumes.

    Example:

        worldtune evaluate runs/pocket-new-view --gates default
    """
    say_first("evaluate: opening the runs and their base")
    import worldtune
    from worldtune.cli.terminal.progress import bars
    from worldtune.errors import UserError
    from worldtune.evaluation.comparison.gates import EXIT_CODES

    if workers > 1 and executor == Executor.local:
        what = "--workers needs a Ray cluster"
        raise UserError(what, where="--workers", hint="Add --executor ray, or omit --workers.")
    with bars() as progress:
        result = worldtune.evaluate(
            runs,
            out=out,
            candidates=candidate,
            incumbent=incumbent,
            gates=gates,
            clips=clips,
            seeds=seeds,
            steps=steps,
            guidance=guidance,
            seed=seed,
            gripper_columns=gripper_columns,
            other_task=other_task,
            judge=judge,
            judge_endpoint=judge_endpoint,
            judge_repeats=judge_repeats,
            weights=weights,
            rerun=rerun,
            ray_workers=workers if executor == Executor.ray else None,
            device=device,
            progress=progress,
        )
    _say(result, with_passed=not gates)
    if not gates:
        echo("To check quality, add --gates default or a gates file.")
    if result.judge and not result.judge.statuses.get("answered"):
        faults = "; ".join(result.judge.faults) or "no answer could be parsed"
        echo(f"the judge gave no scores: {faults}", err=True)
    echo(result.report)
    if gates or result.outcome == "fail":  # a candidate that provably does nothing fails even without gates
        raise typer.Exit(EXIT_CODES[result.outcome])


def _say(result: "EvaluationResult", *, with_passed: bool) -> None:
    """Print the verdict on each candidate, and the results of its gates."""
    from worldtune.evaluation.comparison.gates import describe_outcome
    from worldtune.evaluation.report.verdict import codec_loss, verdict

    for name, gate_results in result.gate_results.items():
        statement = verdict(result.comparison, name)
        echo(statement.text, red=statement.tone == "bad")
        for remark in codec_loss(result.comparison, name):
            echo(remark.text)
        echo(f"{name}: {describe_outcome(result.policy, gate_results)}")
        for gate_result in gate_results:
            if gate_result.outcome != "pass":
                echo(f"  {gate_result.gate}: {gate_result.outcome}: {gate_result.why}")
        if with_passed:
            passed = [gate_result.gate for gate_result in gate_results if gate_result.outcome == "pass"]
            echo(f"  passed: {'; '.join(passed) or 'nothing'}")
