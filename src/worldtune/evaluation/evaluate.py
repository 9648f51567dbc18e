"""An evaluation from its question to its report: gather the suite, make the videos, compare, rule, write.

Everything long is kept as it is made, in the user's cache by digests, so that an evaluation that was cut off goes on,
and the next one finds the base's videos there.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worldtune.errors import UserError
from worldtune.evaluation.calibration import calibrate, record_of
from worldtune.evaluation.case import Video
from worldtune.evaluation.compare import compare
from worldtune.evaluation.comparison import CONTROLS, NEAREST, REFERENCE, Comparison
from worldtune.evaluation.contenders import (
    AdapterFolder,
    Contender,
    OtherWorld,
    VideoFolder,
    unknown_training,
    videos_in,
)
from worldtune.evaluation.controls import nearest
from worldtune.evaluation.figures import Figure, run_figures
from worldtune.evaluation.gates import NOTHING_ASKED, Policy, Ruling, rivals_of, rule
from worldtune.evaluation.generated import Maker, Model
from worldtune.evaluation.held_out import Suite, gather
from worldtune.evaluation.judge import Judge
from worldtune.evaluation.kept_films import KeptFilms
from worldtune.evaluation.kept_scores import KeptScores
from worldtune.evaluation.learned.run import Learned, absent
from worldtune.evaluation.learned.scorers import names_without
from worldtune.evaluation.learned.weights import Weights
from worldtune.evaluation.on_ray import Cluster
from worldtune.evaluation.report import RECORDING, ReportContent, check_report_folder, write_report
from worldtune.evaluation.rerun_recording import require_rerun, write_recording
from worldtune.evaluation.runs import TrainedRun, forgetting_of, lineage_of, read_runs, same_data
from worldtune.evaluation.scorers.gripper_path import GripperPath, path_scorer
from worldtune.evaluation.scorers.judged import Judged
from worldtune.evaluation.scorers.memory import Memory
from worldtune.evaluation.scorers.other_task import OtherTask, with_other_tasks
from worldtune.evaluation.scorers.unusual import Unusual
from worldtune.evaluation.scorers.views import CrossView
from worldtune.evaluation.scoring import Scorer
from worldtune.evaluation.suite import SamplingPlan, recorded
from worldtune.files import cache_folder
from worldtune.latents.encode import encode_clips
from worldtune.latents.store import LatentStore
from worldtune.training.data import default_store
from worldtune.worlds.load import open_world_on
from worldtune.worlds.world import World

Bar = Callable[[str], AbstractContextManager[Callable[..., None]]]
"""Opens a progress bar of that name, which is told (done, total, note)."""


def no_bar(name: str) -> AbstractContextManager[Callable[..., None]]:
    """Progress that nobody asked for."""
    return nullcontext(lambda done, total, note="": None)


@dataclass(frozen=True)
class Question:
    """What is asked of an evaluation. `runs` are run folders by the name to show; the first one is the subject.

    `contenders` are further candidates, of which, or of the runs, `incumbent` is the one in use. `clips` are only the
    first so many held-out clips of each dataset. `columns` are those of the states that are the gripper's place, by
    their names when none are given. `other_task`: generate each clip with another task's prompt too. `judge` is asked
    about every video, and first about real clips with and without planted faults. `weights` are those that the user
    has of models that see, by kind. `ray_workers`: so many actors of a Ray cluster generate. `rerun`: a
    recording is written too.
    """

    runs: Mapping[str, Path]
    plan: SamplingPlan
    title: str
    reproduce: str
    goals: Mapping[str, float] = field(default_factory=dict)
    contenders: Mapping[str, Contender] = field(default_factory=dict)
    incumbent: str | None = None
    policy: Policy = NOTHING_ASKED
    clips: int | None = None
    columns: tuple[int, ...] = ()
    other_task: bool = False
    judge: Judge | None = None
    weights: Mapping[str, Weights] = field(default_factory=dict)
    ray_workers: int | None = None
    rerun: bool = False


@dataclass(frozen=True)
class Answer:
    """What came of it; `rulings` are the gates' by candidate."""

    comparison: Comparison
    runs: list[TrainedRun]
    figures: list[Figure]
    suite: Suite
    candidates: dict[str, dict[str, list[Video]]]
    rulings: dict[str, list[Ruling]]


def evaluate(world: World, question: Question, report: Path, bar: Bar = no_bar) -> Answer:
    """Judge the candidates on held-out clips of the runs, and some of the base's domain; write the report.

    Raises UserError as `read_runs` and `gather` do, when a candidate has another's name, does not fit the base or
    makes no videos, a gate asks for what is not compared, or there is no place to write.
    """
    check_report_folder(report)  # before the long work
    if question.rerun:
        require_rerun()
    store, kept = default_store(), KeptScores(cache_folder() / "scores")
    runs = read_runs(question.runs, one_dataset=False)
    judged = _judged(runs, question)
    rivals = rivals_of(question.policy, question.incumbent, {"base": None, **judged})
    learned = Learned(question.weights, str(world.device))
    with bar("encode") as advance:
        suite = gather(world, runs, question.title, store, question.clips, question.columns, advance)
    maker = Maker(question.plan, KeptFilms(cache_folder() / "films"))
    with bar("generate") as advance:
        if question.ray_workers is not None:
            _on_cluster(world, judged, suite, maker, question.ray_workers, advance)
        videos, loaded = _videos(world, judged, suite, maker, store, lambda name, done, all_: advance(done, all_, name))
    scorers, not_run = _scorers(world, runs[0], question, suite, judged, maker, store)
    candidates = {"base": videos["base"], **{name: videos[name] for name in judged}}
    if suite.trained_on:
        candidates[NEAREST] = _nearest(suite, scorers)
    trust = calibrate(question.judge, suite.headline) if question.judge else None
    with bar("compare") as advance:
        comparison = compare(
            suite.cases,
            candidates,
            rivals=[NEAREST, *rivals],
            seeds=question.plan.seeds,
            scorers=[*scorers, *learned.scorers],
            not_run=not_run | names_without(list(question.weights)),
            kept=kept,
            on_case=advance,
        )
    rulings = {name: rule(comparison, name, question.policy, loaded[name], question.incumbent) for name in judged}
    figures = run_figures(comparison, [run for run in runs if same_data(run, runs[0])], dict(question.goals))
    content = ReportContent(
        title=question.title,
        verdict_subject=next(iter(judged)),
        comparison=comparison,
        cases=suite.cases,
        candidates=candidates,
        figures=figures,
        curves={run.name: run.rows for run in runs},
        lineage=lineage_of(runs),
        forgetting=forgetting_of(runs),
        reproduce=question.reproduce,
        fps=runs[0].recipe.data.fps,
        rulings=rulings,
        incumbent=question.incumbent,
        notes=list(unknown_training(question.contenders)),
        judge=record_of(question.judge, trust) if question.judge and trust else None,
        sayings=question.judge.sayings if question.judge else [],
        distances=learned.distances(suite.headline, candidates),
        no_distances=absent(list(question.weights)),
        weights={kind: its.digest for kind, its in question.weights.items()},
    )
    with bar("report") as advance:
        write_report(report, content, advance)
    if question.rerun:
        write_recording(report / RECORDING, question.title, suite.headline, candidates, content.fps)
    return Answer(comparison, runs, figures, suite, candidates, rulings)


def _judged(runs: Sequence[TrainedRun], question: Question) -> dict[str, Contender]:
    """What is compared with the base, by name. Raises UserError for a name that is taken."""
    judged: dict[str, Contender] = {run.name: AdapterFolder(run.folder.adapter) for run in runs}
    for name, contender in question.contenders.items():
        if name in judged or name in {"base", REFERENCE, *CONTROLS}:
            what = f"a candidate cannot be called {name!r} here"
            raise UserError(what, where=str(contender.path), mend="Another column has that name: choose another.")
        judged[name] = contender
    if question.incumbent is not None and question.incumbent not in judged:
        what = f"the incumbent {question.incumbent!r} is not compared"
        raise UserError(what, where="--incumbent", mend=f"One of: {', '.join(judged)}.")
    return judged


def _videos(
    world: World,
    judged: Mapping[str, Contender],
    suite: Suite,
    maker: Maker,
    store: LatentStore,
    on_video: Callable[[str, int, int], None],
) -> tuple[dict[str, dict[str, list[Video]]], dict[str, str | None]]:
    """Every candidate's videos, and what is known of what was loaded for them."""
    read = f"{world.tensors} tensors of the base, and every one of the adapter's"
    videos = {"base": maker.make(world, Model("base"), suite.clips, on_video)}
    loaded: dict[str, str | None] = {}
    for name, contender in judged.items():
        match contender:
            case AdapterFolder(path):
                videos[name], loaded[name] = maker.make(world, Model(name, path), suite.clips, on_video), read
            case OtherWorld(path):
                other = open_world_on(str(world.device), str(path))
                _refuse_other_codec(world, other, path)
                clips = encode_clips(other, [clip.clip for clip in suite.clips], store)
                videos[name] = maker.make(other, Model(name), clips, on_video)
                loaded[name] = f"{other.tensors} tensors of its own"
            case VideoFolder(path):
                videos[name], loaded[name] = videos_in(path, suite.cases, suite.clips[0].clip.fps), None
    return videos, loaded


def _on_cluster(
    world: World,
    judged: Mapping[str, Contender],
    suite: Suite,
    maker: Maker,
    workers: int,
    advance: Callable[..., None],
) -> None:
    """What the base and adapters lack is made by a cluster, and found afterwards where it is kept."""
    adapters = {name: its.path.absolute() for name, its in judged.items() if isinstance(its, AdapterFolder)}
    models = [Model("base"), *(Model(name, path) for name, path in adapters.items())]
    jobs = [(model, maker.lacking(world, model, suite.clips)) for model in models]
    done, total = itertools.count(1), sum(len(clips) for _, clips in jobs) * len(maker.plan.seeds)
    if total:
        Cluster.like(world, workers).make(maker, jobs, lambda name: advance(next(done), total, name.split(" ")[0]))


def _refuse_other_codec(world: World, other: World, path: Path) -> None:
    if other.card.codec_digest != world.card.codec_digest:
        raise UserError(
            "its codec is not the base's: the same noise would be another video",
            where=str(path),
            mend="Compare it as a folder of videos.",
        )


def _scorers(
    world: World,
    run: TrainedRun,
    question: Question,
    suite: Suite,
    judged: Mapping[str, Contender],
    maker: Maker,
    store: LatentStore,
) -> tuple[list[Scorer], dict[str, str]]:
    """The metrics besides the plain ones, and why others are not run."""
    scorers: list[Scorer] = []
    not_run = {"action_cycle": "no inverse dynamics model is at hand"}
    if suite.trained_on:
        training = [(clip.clip.camera, recorded(clip.clip)) for clip in suite.trained_on]
        scorers += [Memory([video for _, video in training]), Unusual(training)]
    else:
        not_run |= dict.fromkeys([*Memory.names, *Unusual.names], "the clips that were trained on are not at hand")
    path = path_scorer(world, suite.trained_on, suite.columns, suite.headline, store)
    if isinstance(path, str):
        not_run |= dict.fromkeys(GripperPath.names, path)
    else:
        scorers.append(path)
    if run.recipe.data.tile is None:
        not_run["cross_view_ratio"] = "the pictures are of one camera"
    else:
        scorers.append(CrossView(run.recipe.data.tile))
    if len(question.plan.seeds) < 2:
        not_run["diversity"] = "one seed: ask for more by --seeds"
    if question.judge is None:
        not_run |= dict.fromkeys(Judged.names, "no judge is named: --judge")
    else:
        scorers.append(Judged(question.judge))
    if not question.other_task:
        not_run["prompt_sensitivity"] = "not asked for: --other-task"
    elif swapped := with_other_tasks(suite.clips):
        scorers.append(OtherTask(_swapped(world, swapped, judged, maker)))
    else:
        not_run["prompt_sensitivity"] = "all clips are of one task"
    return scorers, not_run


def _swapped(world: World, swapped: Sequence[Any], judged: Mapping[str, Contender], maker: Maker) -> dict[Any, Video]:
    adapters = {name: its.path for name, its in judged.items() if isinstance(its, AdapterFolder)}
    models = [Model("base"), *(Model(name, path) for name, path in adapters.items())]
    return {
        (model.name, case, seed): video
        for model in models
        for case, its in maker.make(world, model, swapped).items()
        for seed, video in zip(maker.plan.seeds, its, strict=True)
    }


def _nearest(suite: Suite, scorers: Sequence[Scorer]) -> dict[str, list[Video]]:
    memory = next(scorer for scorer in scorers if isinstance(scorer, Memory))
    training = [recorded(clip.clip) for clip in suite.trained_on]
    return {case.name: [nearest(case, training, memory.first_ND)] for case in suite.cases}
