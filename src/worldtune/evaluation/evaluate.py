"""An evaluation from its request to its report: build the suite, generate videos, compare, apply gates, write.

Videos, scores and a judge's answers are cached by digest as they are made, in the user's cache folder. An interrupted
evaluation continues from there, and the next evaluation reuses the base's videos.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from worldtune.core.files import cache_folder
from worldtune.core.progress import Progress, silent, stage
from worldtune.core.statistics import MeanEstimate
from worldtune.evaluation.cache.score_cache import ScoreCache, open_score_cache
from worldtune.evaluation.cache.video_cache import VideoCache
from worldtune.evaluation.candidates.candidate import Candidate
from worldtune.evaluation.candidates.candidates import (
    collect_candidates,
    generate_on_ray,
    generate_videos,
    provenance_notes,
    read_cards,
    run_folders,
)
from worldtune.evaluation.candidates.video_generator import VideoGenerator
from worldtune.evaluation.cases.case import Video
from worldtune.evaluation.cases.clip_cases import recorded_video
from worldtune.evaluation.cases.held_out import Suite, build_suite, check_not_trained_on
from worldtune.evaluation.cases.runs import TrainedRun, collect_lineage, forgetting_rows, have_same_data, read_runs
from worldtune.evaluation.codec_loss import decode_round_trips
from worldtune.evaluation.comparison.compare import compare
from worldtune.evaluation.comparison.gates import (
    NO_GATES,
    GatePolicy,
    GateResult,
    Outcome,
    apply_gates_to_all,
    find_baselines,
    overall_outcome,
)
from worldtune.evaluation.judging.calibration import JudgeRecord, calibrate, make_record
from worldtune.evaluation.judging.judge import Judge
from worldtune.evaluation.learned.learned_metrics import LearnedMetrics, missing_distances
from worldtune.evaluation.learned.scorers import missing_metrics
from worldtune.evaluation.learned.weights import Weights
from worldtune.evaluation.report.figures import Figure, run_figures
from worldtune.evaluation.report.folder import RECORDING, ReportContent, check_report_folder, write_report
from worldtune.evaluation.report.rerun_recording import check_rerun_installed, write_recording
from worldtune.evaluation.results import CODEC, CONTROLS, NEAREST, Comparison
from worldtune.evaluation.sampling_plan import SamplingPlan
from worldtune.evaluation.scoring.choose_scorers import choose_scorers, other_task_scorer
from worldtune.evaluation.scoring.judge_scores import JudgeScorer
from worldtune.evaluation.scoring.memorization import MemorizationScorer
from worldtune.evaluation.scoring.prompt_sensitivity import PromptScorer
from worldtune.evaluation.scoring.wrong_actions import wrong_action_scorer
from worldtune.latents.store import LatentStore, default_store
from worldtune.models.world import World


@dataclass(frozen=True)
class EvaluationRequest:
    """The runs and candidates to compare, and how. `runs` maps display names to run folders; the first is the subject.

    `candidates` are compared too. `incumbent` names the run or candidate in use today. `clips` limits the
    held-out clips of each dataset. `columns` are the state columns of the gripper position; if empty, they are found by
    name. `other_task`: also generate each clip with another task's prompt. `judge` scores every video, after it was
    calibrated on real and corrupted clips. `weights` maps kinds to folders of vision models. `ray_workers` is the
    number of Ray actors that generate. `rerun`: also write a recording. `remarks` are further notes for the report.
    """

    runs: Mapping[str, Path]
    plan: SamplingPlan
    title: str
    reproduce: str
    goals: Mapping[str, float] = field(default_factory=dict)
    candidates: Mapping[str, Candidate] = field(default_factory=dict)
    incumbent: str | None = None
    policy: GatePolicy = NO_GATES
    clips: int | None = None
    columns: tuple[int, ...] = ()
    other_task: bool = False
    judge: Judge | None = None
    weights: Mapping[str, Weights] = field(default_factory=dict)
    ray_workers: int | None = None
    rerun: bool = False
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class EvaluationResult:
    """The comparison of all candidates, the gate results by candidate, and the path of the report.

    `judge` is the judge's record, or None without a judge.
    """

    report: Path
    comparison: Comparison
    gate_results: dict[str, list[GateResult]]
    policy: GatePolicy
    incumbent: str | None
    runs: list[TrainedRun]
    figures: list[Figure]
    suite: Suite
    candidates: dict[str, dict[str, list[Video]]]
    judge: JudgeRecord | None

    @property
    def outcome(self) -> Outcome:
        """The outcome ("pass", "fail", "not enough evidence") of the gates on all candidates except the incumbent."""
        return overall_outcome(
            [result for name, results in self.gate_results.items() if name != self.incumbent for result in results]
        )

    @property
    def scores(self) -> dict[str, dict[str, MeanEstimate]]:
        """The mean over the held-out clips by candidate and metric, with its 95 % interval, resampled by episode."""
        return {name: result.means for name, result in self.comparison.headline.results.items()}


def evaluate(world: World, request: EvaluationRequest, report: Path, progress: Progress = silent) -> EvaluationResult:
    """Compare the candidates on held-out clips of the runs and some clips of the base domain; write the report.

    Raise UserError as `read_runs`, `collect_candidates` and `build_suite` do, if a candidate was trained on a clip,
    does not fit the base or makes no videos, a gate names a candidate that is not compared, or `report` cannot be
    written.
    """
    check_report_folder(report)  # before the long work
    if request.rerun:
        check_rerun_installed()
    work = _begin(world, request)
    baselines = find_baselines(request.policy, request.incumbent, ["base", *work.candidates_by_name, *CONTROLS])
    suite = build_suite(
        world, work.runs, request.title, work.store, request.clips, request.columns, stage(progress, "encode")
    )
    check_not_trained_on(run_folders(work.candidates_by_name), suite.clips)
    videos = _make(work, suite, stage(progress, "generate"))
    comparison, judge = _compare(work, suite, videos, baselines, progress)
    figures = run_figures(
        comparison, [run for run in work.runs if have_same_data(run, work.runs[0])], dict(request.goals)
    )
    content = _content(work, suite, videos, comparison, figures, judge)
    write_report(report, content, stage(progress, "report"))
    if request.rerun:
        write_recording(report / RECORDING, request.title, suite.headline, videos.candidates, content.fps)
    gate_results = apply_gates_to_all(comparison, request.policy, videos.loaded, request.incumbent)
    return EvaluationResult(
        report=report / "index.html",
        comparison=comparison,
        gate_results=gate_results,
        policy=request.policy,
        incumbent=request.incumbent,
        runs=work.runs,
        figures=figures,
        suite=suite,
        candidates=videos.candidates,
        judge=judge,
    )


@dataclass(frozen=True)
class _Work:
    """The objects that all steps of an evaluation share."""

    world: World
    request: EvaluationRequest
    runs: list[TrainedRun]
    candidates_by_name: dict[str, Candidate]
    learned: LearnedMetrics
    generator: VideoGenerator
    store: LatentStore
    score_cache: ScoreCache


@dataclass(frozen=True)
class _Videos:
    """Every candidate's videos, a description of the weights loaded for them, and the scorer of memorization."""

    candidates: dict[str, dict[str, list[Video]]]
    loaded: dict[str, str | None]
    memorization: MemorizationScorer | None


def _begin(world: World, request: EvaluationRequest) -> _Work:
    runs = read_runs(request.runs, one_dataset=False)
    return _Work(
        world=world,
        request=request,
        runs=runs,
        candidates_by_name=collect_candidates(runs, request.candidates, request.incumbent),
        learned=LearnedMetrics(request.weights, str(world.device)),
        generator=VideoGenerator(request.plan, VideoCache(cache_folder() / "videos")),
        store=default_store(),
        score_cache=open_score_cache(cache_folder() / "scores"),
    )


def _make(work: _Work, suite: Suite, advance: Progress) -> _Videos:
    """Generate every candidate's videos, and the controls that need the codec or the training clips."""
    if work.request.ray_workers is not None:
        generate_on_ray(work.world, work.candidates_by_name, suite, work.generator, work.request.ray_workers, advance)
    candidates, loaded = generate_videos(
        work.world, work.candidates_by_name, suite, work.generator, work.store, advance
    )
    candidates[CODEC] = decode_round_trips(
        work.world, suite.clips, work.generator.video_cache, lambda done, total, note="": advance(done, total, "codec")
    )
    memorization = (
        MemorizationScorer([recorded_video(clip.clip) for clip in suite.trained_on]) if suite.trained_on else None
    )
    if memorization is not None:
        candidates[NEAREST] = {case.name: [memorization.nearest_to(case)] for case in suite.cases}
    return _Videos(candidates, loaded, memorization)


def _compare(
    work: _Work, suite: Suite, videos: _Videos, baselines: list[str], progress: Progress
) -> tuple[Comparison, JudgeRecord | None]:
    """Score every video. If there is a judge, measure its own accuracy first, then let it score too."""
    request = work.request
    scorers, not_run = choose_scorers(
        work.world, work.runs[0], suite, request.plan.seeds, work.store, work.score_cache, videos.memorization
    )
    prompt_scorer: PromptScorer | str = "not requested: --other-task"
    if request.other_task:
        prompt_scorer = other_task_scorer(work.world, suite, work.candidates_by_name, work.generator)
    if isinstance(prompt_scorer, str):
        not_run["prompt_sensitivity"] = prompt_scorer
    else:
        scorers.append(prompt_scorer)
    obedience = wrong_action_scorer(work.world, suite, work.candidates_by_name, work.generator, scorers)
    if isinstance(obedience, str):
        not_run["wrong_action_correlation"] = obedience
    else:
        scorers.append(obedience)
    calibration = None
    if request.judge is not None:
        calibration = calibrate(request.judge, suite.headline, stage(progress, "calibrate the judge"))
    comparison = compare(
        suite.cases,
        videos.candidates,
        baselines=[NEAREST, *baselines],
        seeds=request.plan.seeds,
        scorers=[*scorers, *work.learned.scorers, *([JudgeScorer(request.judge)] if request.judge else [])],
        not_run=not_run | missing_metrics(list(request.weights)),
        score_cache=work.score_cache,
        progress=stage(progress, "compare"),
    )
    return comparison, make_record(request.judge, calibration) if request.judge and calibration else None


def _content(
    work: _Work,
    suite: Suite,
    videos: _Videos,
    comparison: Comparison,
    figures: list[Figure],
    judge: JudgeRecord | None,
) -> ReportContent:
    """Return all that the report shows."""
    request, runs = work.request, work.runs
    return ReportContent(
        title=request.title,
        verdict_subject=next(iter(work.candidates_by_name)),
        comparison=comparison,
        cases=suite.cases,
        candidates=videos.candidates,
        figures=figures,
        curves={run.name: run.rows for run in runs},
        lineage=collect_lineage(read_cards(work.candidates_by_name)),
        retention=forgetting_rows(runs),
        reproduce=request.reproduce,
        fps=runs[0].recipe.data.fps,
        policy=request.policy,
        loaded=videos.loaded,
        incumbent=request.incumbent,
        notes=[*request.remarks, *provenance_notes(work.candidates_by_name, runs[0]), *suite.notes],
        judge=judge,
        answers=request.judge.answers if request.judge else [],
        distances=work.learned.distances(suite.headline, videos.candidates),
        no_distances=missing_distances(list(request.weights)),
        weights={kind: weights.digest for kind, weights in request.weights.items()},
        plan=request.plan,
    )
