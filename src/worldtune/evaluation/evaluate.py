"""An evaluation from its question to its report: gather the suite, make the videos, compare, rule, write.

Videos, scores and a judge's answers are kept as they are made, in the user's cache by digests, so that an evaluation
that was cut off goes on, and the next one finds the base's videos there.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from worldtune.evaluation.case import Video
from worldtune.evaluation.chosen_scorers import choose_scorers
from worldtune.evaluation.compare import compare
from worldtune.evaluation.comparison import CONTROLS, NEAREST, Comparison
from worldtune.evaluation.contenders import Contender
from worldtune.evaluation.field import cards, field_of, make_on_ray, make_videos, remarks_on, run_folders
from worldtune.evaluation.gates import NOTHING_ASKED, Policy, Ruling, rivals_of, rulings_of
from worldtune.evaluation.generated import Maker
from worldtune.evaluation.held_out import Suite, gather, refuse_trained_on
from worldtune.evaluation.judging.calibration import JudgeRecord, calibrate, record_of
from worldtune.evaluation.judging.judge import Judge
from worldtune.evaluation.kept import kept_scores
from worldtune.evaluation.kept_films import KeptFilms
from worldtune.evaluation.learned.run import Learned, absent
from worldtune.evaluation.learned.scorers import names_without
from worldtune.evaluation.learned.weights import Weights
from worldtune.evaluation.report.figures import Figure, run_figures
from worldtune.evaluation.report.folder import RECORDING, ReportContent, check_report_folder, write_report
from worldtune.evaluation.report.rerun_recording import require_rerun, write_recording
from worldtune.evaluation.runs import TrainedRun, forgetting_of, lineage_of, read_runs, same_data
from worldtune.evaluation.sampling_plan import SamplingPlan
from worldtune.evaluation.scorers.judged import Judged
from worldtune.evaluation.scorers.memory import Memory
from worldtune.evaluation.suite import recorded
from worldtune.files import cache_folder
from worldtune.training.data import default_store
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
    recording is written too. `remarks` are what else the report's reader must know.
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
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What came of it; `rulings` are the gates' by candidate, `judge` what is known of the judge, if one was asked."""

    comparison: Comparison
    runs: list[TrainedRun]
    figures: list[Figure]
    suite: Suite
    candidates: dict[str, dict[str, list[Video]]]
    rulings: dict[str, list[Ruling]]
    judge: JudgeRecord | None


def evaluate(world: World, question: Question, report: Path, bar: Bar = no_bar) -> Answer:
    """Judge the candidates on held-out clips of the runs, and some of the base's domain; write the report.

    Raises UserError as `read_runs`, `field_of` and `gather` do, when a candidate was trained on a clip, does not fit
    the base or makes no videos, a gate asks for what is not compared, or there is no place to write.
    """
    check_report_folder(report)  # before the long work
    if question.rerun:
        require_rerun()
    store, kept = default_store(), kept_scores(cache_folder() / "scores")
    runs = read_runs(question.runs, one_dataset=False)
    judged = field_of(runs, question.contenders, question.incumbent)
    rivals = rivals_of(question.policy, question.incumbent, ["base", *judged, *CONTROLS])
    learned = Learned(question.weights, str(world.device))
    maker = Maker(question.plan, KeptFilms(cache_folder() / "films"))
    with bar("encode") as advance:
        suite = gather(world, runs, question.title, store, question.clips, question.columns, advance)
    refuse_trained_on(run_folders(judged), suite.clips)
    with bar("generate") as advance:
        if question.ray_workers is not None:
            make_on_ray(world, judged, suite, maker, question.ray_workers, advance)
        candidates, loaded = make_videos(world, judged, suite, maker, store, advance)
    memory = Memory([recorded(clip.clip) for clip in suite.trained_on]) if suite.trained_on else None
    if memory is not None:
        candidates[NEAREST] = {case.name: [memory.nearest_to(case)] for case in suite.cases}
    scorers, not_run = choose_scorers(
        world, runs[0], suite, judged, maker, store, kept, memory, other_task=question.other_task
    )
    trust = None
    if question.judge is not None:
        with bar("calibrate the judge") as advance:
            trust = calibrate(question.judge, suite.headline, advance)
    with bar("compare") as advance:
        comparison = compare(
            suite.cases,
            candidates,
            rivals=[NEAREST, *rivals],
            seeds=question.plan.seeds,
            scorers=[*scorers, *learned.scorers, *([Judged(question.judge)] if question.judge else [])],
            not_run=not_run | names_without(list(question.weights)),
            kept=kept,
            on_case=advance,
        )
    rulings = rulings_of(comparison, question.policy, loaded, question.incumbent)
    figures = run_figures(comparison, [run for run in runs if same_data(run, runs[0])], dict(question.goals))
    judge = record_of(question.judge, trust) if question.judge and trust else None
    content = ReportContent(
        title=question.title,
        verdict_subject=next(iter(judged)),
        comparison=comparison,
        cases=suite.cases,
        candidates=candidates,
        figures=figures,
        curves={run.name: run.rows for run in runs},
        lineage=lineage_of(cards(judged)),
        forgetting=forgetting_of(runs),
        reproduce=question.reproduce,
        fps=runs[0].recipe.data.fps,
        policy=question.policy,
        loaded=loaded,
        incumbent=question.incumbent,
        notes=[*question.remarks, *remarks_on(judged, runs[0]), *suite.notes],
        judge=judge,
        sayings=question.judge.sayings if question.judge else [],
        distances=learned.distances(suite.headline, candidates),
        no_distances=absent(list(question.weights)),
        weights={kind: its.digest for kind, its in question.weights.items()},
        plan=question.plan,
    )
    with bar("report") as advance:
        write_report(report, content, advance)
    if question.rerun:
        write_recording(report / RECORDING, question.title, suite.headline, candidates, content.fps)
    return Answer(comparison, runs, figures, suite, candidates, rulings, judge)
