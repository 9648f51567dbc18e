"""The report folder: index.html, results.json and videos/*.mp4, readable without a server or a network.

Shape letters: T frames, H height, W width, C channels.
"""

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from worldtune.core.files import atomic_file, atomic_folder, make_folder, write_json
from worldtune.core.progress import Progress, silent
from worldtune.errors import DataError, UserError
from worldtune.evaluation.cases.case import CandidateVideos, Case, Video
from worldtune.evaluation.comparison.gates import NO_GATES, GatePolicy, apply_gates_to_all
from worldtune.evaluation.judging.calibration import JudgeRecord
from worldtune.evaluation.judging.judge import JudgeAnswer
from worldtune.evaluation.learned.frechet import Distance
from worldtune.evaluation.report.consistency import shown_seeds
from worldtune.evaluation.report.contact_sheet import write_contact_sheet
from worldtune.evaluation.report.page import render_page
from worldtune.evaluation.report.plots import LOSSES
from worldtune.evaluation.report.preview_video import write_report_video
from worldtune.evaluation.report.saved_report import FORMAT, SavedReport, parse_report, read_report
from worldtune.evaluation.report.scores_table import write_scores
from worldtune.evaluation.report.summary import summary
from worldtune.evaluation.report.verdict import verdict
from worldtune.evaluation.report.votes import read_ballots
from worldtune.evaluation.results import CONTROLS, REFERENCE, CaseRow, Comparison, select_seed
from worldtune.evaluation.sampling_plan import SamplingPlan, suite_digest

INDEX, RESULTS, VIDEOS = "index.html", "results.json", "videos"
SCORES, SUMMARY, SHEET, JUDGE_ANSWERS = "scores.parquet", "summary.md", "contact_sheet.png", "judge.jsonl"
RECORDING = "recording.rrd"


@dataclass(frozen=True)
class ReportContent:
    """The content of a report.

    The verdict is about `verdict_subject`. `figures` are objects with name, value, unit, goal, better, reached (and
    why, if value is null). `curves` maps a run's name to the rows of its metrics.jsonl. `lineage` may nest. `retention`
    is a list of table rows with the same keys. `reproduce` is the command that makes the report again, `fps` the frame
    rate of the videos. `policy` holds the gates, `loaded` the weights loaded for each tested candidate (absent:
    unknown), `plan` the sampling plan, `notes` sentences for the top of the report, `answers` all answers of the
    `judge`. `distances` are Fréchet distances, `no_distances` the reasons for others, `weights` digests by kind.
    """

    title: str
    verdict_subject: str
    comparison: Comparison
    cases: Sequence[Case]
    candidates: CandidateVideos
    figures: Sequence[Mapping[str, Any]]
    curves: Mapping[str, Sequence[Mapping[str, Any]]]
    lineage: Mapping[str, Any]
    retention: Sequence[Mapping[str, Any]]
    reproduce: str
    fps: float
    policy: GatePolicy = NO_GATES
    loaded: Mapping[str, str | None] = field(default_factory=dict)
    incumbent: str | None = None
    notes: Sequence[str] = ()
    judge: JudgeRecord | None = None
    answers: Sequence[JudgeAnswer] = ()
    distances: Sequence[Distance] = ()
    no_distances: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    plan: SamplingPlan | None = None


def write_report(folder: Path, content: ReportContent, progress: Progress = silent) -> Path:
    """Write the report and return the path of its index.html. An older report in `folder` is replaced atomically.

    Raise UserError if `folder` holds anything except a report, the subject is not a candidate, the cases are not those
    of the comparison, a figure contradicts itself, or a number is not finite.
    """
    check_report_folder(folder)
    _check_content(content)
    columns = [REFERENCE, *(name for name in content.comparison.candidates if name not in CONTROLS)]
    videos = {  # file names do not reveal the candidate, because people vote blind
        case.name: {column: f"{VIDEOS}/{row:04d}-{number}.mp4" for number, column in enumerate(columns)}
        for row, case in enumerate(content.cases)
    }
    saved = _build_saved_report(content, columns, videos)
    with atomic_folder(folder) as partial:
        (partial / VIDEOS).mkdir()
        _write_videos(partial, content, videos, progress)
        write_json(partial / RESULTS, saved.to_json())
        write_scores(partial / SCORES, content.comparison)
        if content.answers:
            lines = (json.dumps(asdict(answer), sort_keys=True) for answer in content.answers)
            (partial / JUDGE_ANSWERS).write_text("\n".join(lines) + "\n", encoding="utf-8")
        (partial / INDEX).write_text(render_page(saved), encoding="utf-8")
        (partial / SUMMARY).write_text(summary(saved), encoding="utf-8")
        write_contact_sheet(
            partial / SHEET, content.cases[: len(content.comparison.headline.cases)], content.candidates, columns
        )
    return folder / INDEX


def check_report_folder(folder: Path) -> None:
    """Raise UserError if `folder` cannot be written or holds anything except a report."""
    make_folder(folder.parent)
    report_names = {INDEX, RESULTS, VIDEOS, SCORES, SUMMARY, SHEET, JUDGE_ANSWERS, RECORDING}
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if folder.exists() and (not folder.is_dir() or names - report_names or (names and RESULTS not in names)):
        raise UserError(
            "the folder holds something other than a report", where=str(folder), hint="Choose a new or empty folder."
        )


def rebuild_report(results: Path, ballots: Sequence[Path] = ()) -> Path:
    """Write index.html again from a results.json and the videos next to it, and return its path.

    Votes of `ballots` replace the votes in the report. Raise DataError if the results or the votes cannot be read, or
    a video is missing.
    """
    index = results.parent / INDEX
    saved = read_report(results)
    if ballots:
        saved = replace(saved, votes=read_ballots(ballots, saved.comparison))
        write_json(results, saved.to_json())
    for path, text in ((index, render_page(saved)), (results.parent / SUMMARY, summary(saved))):
        with atomic_file(path) as partial:
            partial.write_text(text, encoding="utf-8")
    return index


def find_results(path: Path) -> Path:
    """Return the results.json of a run folder, report folder or results.json. Raise DataError if there is none."""
    if path.is_file():
        return path
    for candidate in (path / "report" / RESULTS, path / RESULTS):
        if candidate.is_file():
            return candidate
    raise DataError(
        "no evaluation results found",
        where=str(path),
        hint="Specify a run or report folder, or the results.json that `worldtune evaluate` wrote.",
    )


def _write_videos(
    folder: Path, content: ReportContent, videos: Mapping[str, Mapping[str, str]], progress: Progress
) -> None:
    def write(path: str, video: Video) -> None:
        write_report_video(folder / path, video.read(), content.fps)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = []
        for case, row in zip(content.cases, content.comparison.rows, strict=True):
            seed_index = _worst_seed_index(content, row)
            for column, path in videos[case.name].items():
                video = case.reference if column == REFERENCE else _select_video(content, column, case, seed_index)
                futures.append(pool.submit(write, path, video))
        for done, future in enumerate(futures, start=1):
            future.result()
            progress(done, len(futures))


def _select_video(content: ReportContent, column: str, case: Case, seed_index: int) -> Video:
    video: Video = select_seed(content.candidates[column][case.name], seed_index)
    return video


def _worst_seed_index(content: ReportContent, row: CaseRow) -> int:
    """Return the index of the shown seed: the seed at which the subject gains the least over the base."""
    return row.worst_seed_index(content.verdict_subject, content.comparison.reference_candidate)


def _build_saved_report(content: ReportContent, columns: list[str], videos: dict[str, dict[str, str]]) -> SavedReport:
    comparison, plan = content.comparison, content.plan
    loaded = {name: content.loaded.get(name) for name in comparison.tested_candidates}
    gate_results = apply_gates_to_all(comparison, content.policy, loaded, content.incumbent)
    value = {
        "format": FORMAT,
        "title": content.title,
        "verdict_subject": content.verdict_subject,
        "verdict": verdict(content.comparison, content.verdict_subject).text,
        "fps": content.fps,
        "columns": columns,
        "figures": [dict(figure) for figure in content.figures],
        "comparison": content.comparison.to_json(),
        "curves": {name: [_loss_fields(row) for row in rows] for name, rows in content.curves.items()},
        "lineage": dict(content.lineage),
        "retention": [dict(row) for row in content.retention],
        "reproduce": content.reproduce,
        "videos": videos,
        "shown_seeds": shown_seeds(comparison, content.verdict_subject),
        "policy": content.policy.model_dump(mode="json"),
        "loaded": loaded,
        "incumbent": content.incumbent,
        "gate_results": {name: [asdict(result) for result in results] for name, results in gate_results.items()},
        "notes": list(content.notes),
        "judge": content.judge and asdict(content.judge),
        "votes": [],
        "distances": [asdict(distance) for distance in content.distances],
        "no_distances": dict(content.no_distances),
        "weights": dict(content.weights),
        "plan": plan and asdict(plan),
        "suite": plan and suite_digest(comparison.rows, plan),
        "gates": content.policy.digest,
    }
    return parse_report(value, where="the report's content")


def _loss_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("step", *LOSSES) if key in row}


def _check_content(content: ReportContent) -> None:
    comparison = content.comparison
    tested = comparison.tested_candidates
    if content.verdict_subject not in tested:
        raise UserError(
            f"the report's subject {content.verdict_subject!r} was not compared",
            where="verdict_subject",
            hint=f"Use one of: {', '.join(tested)}." if tested else "Add a candidate to the base.",
        )
    if [case.name for case in content.cases] != [row.name for row in comparison.rows]:
        raise UserError(
            "the cases are not those of the comparison", where="cases", hint="Pass the same cases as to compare()."
        )
