"""The settings of an evaluation as a user gives them, the request built from them, and the command that repeats it."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from worldtune.errors import UserError
from worldtune.evaluation.candidates.candidate import Candidate
from worldtune.evaluation.cases.gripper_columns import parse_columns
from worldtune.evaluation.comparison.gates import NO_GATES, read_gate_policy
from worldtune.evaluation.evaluate import EvaluationRequest
from worldtune.evaluation.judging.named_judge import open_judge
from worldtune.evaluation.learned.weights import parse_weights
from worldtune.evaluation.sampling_plan import SamplingPlan


@dataclass(frozen=True)
class JudgeSettings:
    """A vision-language model as a judge: its name at an endpoint or its folder, and the repeats of each question."""

    model: str | None = None
    endpoint: str | None = None
    repeats: int = 1


@dataclass(frozen=True)
class EvaluationSettings:
    """The options of `worldtune evaluate`. `runs` are run folders; the verdict is about the first.

    `candidates` are NAME=PATH, `weights` are KIND=FOLDER, `gripper_columns` is like "0,1,2". Each clip is generated
    `seeds` times, with the seeds from `seed` on. `guidance` None means 0.
    """

    runs: tuple[Path, ...]
    out: Path
    candidates: tuple[str, ...] = ()
    incumbent: str | None = None
    gates: Path | None = None
    clips: int | None = None
    seeds: int = 1
    steps: int = 12
    guidance: int | None = None
    seed: int = 0
    gripper_columns: str | None = None
    other_task: bool = False
    judge: JudgeSettings = JudgeSettings()
    weights: tuple[str, ...] = ()
    rerun: bool = False
    ray_workers: int | None = None
    device: str | None = None


def texts_of(named: Mapping[str, str | Path] | Sequence[str] | None) -> tuple[str, ...]:
    """Return NAME=PATH for each item of a mapping; return a sequence of such texts unchanged."""
    if isinstance(named, Mapping):
        return tuple(f"{name}={path}" for name, path in named.items())
    return tuple(named or ())


def request_of(
    settings: EvaluationSettings, candidates: Mapping[str, Candidate], remarks: tuple[str, ...]
) -> EvaluationRequest:
    """Return the request for `settings`, with its candidates already resolved to `candidates`.

    Raise UserError if two runs share a name or a setting is wrong, RecipeError if the gates file is malformed.
    """
    named = {run.resolve().name: run for run in settings.runs}
    if len(named) < len(settings.runs):
        what = f"runs share a name: {', '.join(run.resolve().name for run in settings.runs)}"
        raise UserError(what, where="command line", hint="Rename one folder: a report tells runs apart by its name.")
    judge = settings.judge
    if (judge.endpoint or judge.repeats > 1) and not judge.model:
        what = "--judge-endpoint or --judge-repeats without --judge"
        raise UserError(what, where="--judge", hint="Specify the model with --judge.")
    return EvaluationRequest(
        runs=named,
        plan=SamplingPlan(
            settings.steps, settings.guidance or 0, tuple(range(settings.seed, settings.seed + settings.seeds))
        ),
        title=f"Held-out clips of {next(iter(named))}",
        reproduce=command_of(settings),
        candidates=candidates,
        remarks=remarks,
        incumbent=settings.incumbent,
        policy=read_gate_policy(settings.gates) if settings.gates else NO_GATES,
        clips=settings.clips,
        columns=parse_columns(settings.gripper_columns),
        other_task=settings.other_task,
        weights=parse_weights(settings.weights),
        rerun=settings.rerun,
        ray_workers=settings.ray_workers,
        judge=open_judge(judge.model, judge.endpoint, judge.repeats, settings.device) if judge.model else None,
    )


def command_of(settings: EvaluationSettings) -> str:
    """Return the command line that makes the same report again."""
    parts: list[object] = ["worldtune", "evaluate", *settings.runs, "--out", settings.out]
    parts += ["--steps", settings.steps, "--seed", settings.seed]
    for option, value in (
        ("--guidance", settings.guidance),
        ("--incumbent", settings.incumbent),
        ("--gates", settings.gates),
        ("--clips", settings.clips),
        ("--gripper-columns", settings.gripper_columns),
        ("--device", settings.device),
        ("--judge", settings.judge.model),
        ("--judge-endpoint", settings.judge.endpoint),
    ):
        parts += [option, value] if value is not None else []
    parts += [part for text in settings.candidates for part in ("--candidate", text)]
    parts += [part for text in settings.weights for part in ("--weights", text)]
    parts += ["--seeds", settings.seeds] if settings.seeds > 1 else []
    parts += ["--other-task"] if settings.other_task else []
    parts += ["--judge-repeats", settings.judge.repeats] if settings.judge.repeats > 1 else []
    return shlex.join(map(str, parts))
