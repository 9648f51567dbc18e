"""The report folder: index.html, results.json and videos/*.mp4, readable without a server or a network.

Shape letters: T frames, H height, W width, C channels.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from worldtune.errors import DataError, UserError
from worldtune.evaluation.case import Candidates, Case, Video
from worldtune.evaluation.comparison import CONTROLS, REFERENCE, CaseRow, Comparison, of_seed
from worldtune.evaluation.gates import NOTHING_ASKED, Policy, rulings_of
from worldtune.evaluation.judging.calibration import JudgeRecord
from worldtune.evaluation.judging.judge import Saying
from worldtune.evaluation.learned.frechet import Distance
from worldtune.evaluation.report.agreement import shown_seeds
from worldtune.evaluation.report.contact_sheet import write_contact_sheet
from worldtune.evaluation.report.page import render_page
from worldtune.evaluation.report.plots import LOSSES
from worldtune.evaluation.report.preview_video import write_preview
from worldtune.evaluation.report.saved_report import FORMAT, SavedReport, parse_report, read_report
from worldtune.evaluation.report.scores_table import write_scores
from worldtune.evaluation.report.summary import summary
from worldtune.evaluation.report.verdict import verdict
from worldtune.evaluation.report.votes import read_ballots
from worldtune.evaluation.sampling_plan import SamplingPlan, suite_digest
from worldtune.files import atomic_file, atomic_folder, make_folder, write_json

INDEX, RESULTS, VIDEOS = "index.html", "results.json", "videos"
SCORES, SUMMARY, SHEET, SAYINGS = "scores.parquet", "summary.md", "contact_sheet.png", "judge.jsonl"
RECORDING = "recording.rrd"
OnVideo = Callable[[int, int], None]


@dataclass(frozen=True)
class ReportContent:
    """What a report is made of.

    `verdict_subject` is the candidate whose verdict stands on top; `figures` are objects with name, value, unit,
    goal, better, reached (and why when value is null); `curves` maps a run's name to the rows of its
    metrics.jsonl; `lineage` may nest; `forgetting` is a list of table rows with the same keys; `reproduce` is the
    command that makes this report again; `fps` the rate of the videos; `policy` the gates, `loaded` what was
    read for each candidate that they rule on (absent: nobody saw it); `plan` how candidates were sampled; `notes`
    sentences that a reader must not miss; `sayings` all answers of the `judge`; `distances` those between
    sets of videos, `no_distances` why others were not measured; `weights` the digests of models that see, by kind.
    """

    title: str
    verdict_subject: str
    comparison: Comparison
    cases: Sequence[Case]
    candidates: Candidates
    figures: Sequence[Mapping[str, Any]]
    curves: Mapping[str, Sequence[Mapping[str, Any]]]
    lineage: Mapping[str, Any]
    forgetting: Sequence[Mapping[str, Any]]
    reproduce: str
    fps: float
    policy: Policy = NOTHING_ASKED
    loaded: Mapping[str, str | None] = field(default_factory=dict)
    incumbent: str | None = None
    notes: Sequence[str] = ()
    judge: JudgeRecord | None = None
    sayings: Sequence[Saying] = ()
    distances: Sequence[Distance] = ()
    no_distances: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    plan: SamplingPlan | None = None


def write_report(folder: Path, content: ReportContent, on_video: OnVideo = lambda done, total: None) -> Path:
    """Write the report and return the path of its index.html; an older report in `folder` is replaced as a whole.

    Raises UserError when `folder` holds anything but a report, the subject is no candidate, the comparison is of
    other cases, a figure contradicts itself, or a number is not finite.
    """
    check_report_folder(folder)
    _refuse_unfit(content)
    columns = [REFERENCE, *(name for name in content.comparison.candidates if name not in CONTROLS)]
    videos = {  # whose they are is not in their names: people vote on them blind
        case.name: {column: f"{VIDEOS}/{place:04d}-{number}.mp4" for number, column in enumerate(columns)}
        for place, case in enumerate(content.cases)
    }
    saved = _saved(content, columns, videos)
    with atomic_folder(folder) as partial:
        (partial / VIDEOS).mkdir()
        _write_videos(partial, content, videos, on_video)
        write_json(partial / RESULTS, saved.to_json())
        write_scores(partial / SCORES, content.comparison)
        if content.sayings:
            lines = (json.dumps(asdict(saying), sort_keys=True) for saying in content.sayings)
            (partial / SAYINGS).write_text("\n".join(lines) + "\n", encoding="utf-8")
        (partial / INDEX).write_text(render_page(saved), encoding="utf-8")
        (partial / SUMMARY).write_text(summary(saved), encoding="utf-8")
        write_contact_sheet(
            partial / SHEET, content.cases[: len(content.comparison.headline.cases)], content.candidates, columns
        )
    return folder / INDEX


def check_report_folder(folder: Path) -> None:
    """Raises UserError when no report can be written to `folder`, or it holds anything else."""
    make_folder(folder.parent)
    ours = {INDEX, RESULTS, VIDEOS, SCORES, SUMMARY, SHEET, SAYINGS, RECORDING}
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if folder.exists() and (not folder.is_dir() or names - ours or (names and RESULTS not in names)):
        raise UserError(
            "the folder holds something else than a report", where=str(folder), mend="Name a new or empty folder."
        )


def rebuild_report(results: Path, ballots: Sequence[Path] = ()) -> Path:
    """Draw index.html again from a results.json and the videos beside it, and return its path.

    Votes of `ballots` take the place of those that were there. Raises DataError when the results or the votes cannot
    be read, or a video is missing.
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
    """The results.json that a user means by a run folder, a report folder or the file itself.

    Raises DataError when there is none.
    """
    if path.is_file():
        return path
    for candidate in (path / "report" / RESULTS, path / RESULTS):
        if candidate.is_file():
            return candidate
    raise DataError(
        "no results of an evaluation here",
        where=str(path),
        mend="Name a run or report folder, or the results.json that `worldtune evaluate` wrote.",
    )


def _write_videos(
    folder: Path, content: ReportContent, videos: Mapping[str, Mapping[str, str]], on_video: OnVideo
) -> None:
    def write(path: str, video: Video) -> None:
        write_preview(folder / path, video.read(), content.fps)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        writing = []
        for case, row in zip(content.cases, content.comparison.rows, strict=True):
            shown = _shown(content, row)
            for column, path in videos[case.name].items():
                video = case.reference if column == REFERENCE else _take(content, column, case, shown)
                writing.append(pool.submit(write, path, video))
        for done, written in enumerate(writing, start=1):
            written.result()
            on_video(done, len(writing))


def _take(content: ReportContent, column: str, case: Case, shown: int) -> Video:
    video: Video = of_seed(content.candidates[column][case.name], shown)
    return video


def _shown(content: ReportContent, row: CaseRow) -> int:
    """Of which seed a row shows the videos: of that in which the subject does worst beside the base."""
    return row.worst_take(content.verdict_subject, content.comparison.reference_candidate)


def _saved(content: ReportContent, columns: list[str], videos: dict[str, dict[str, str]]) -> SavedReport:
    comparison, plan = content.comparison, content.plan
    loaded = {name: content.loaded.get(name) for name in comparison.judged}
    rulings = rulings_of(comparison, content.policy, loaded, content.incumbent)
    value = {
        "format": FORMAT,
        "title": content.title,
        "verdict_subject": content.verdict_subject,
        "verdict": verdict(content.comparison, content.verdict_subject).text,
        "fps": content.fps,
        "columns": columns,
        "figures": [dict(figure) for figure in content.figures],
        "comparison": content.comparison.to_json(),
        "curves": {name: [_losses(row) for row in rows] for name, rows in content.curves.items()},
        "lineage": dict(content.lineage),
        "forgetting": [dict(row) for row in content.forgetting],
        "reproduce": content.reproduce,
        "videos": videos,
        "shown_seeds": shown_seeds(comparison, content.verdict_subject),
        "policy": content.policy.model_dump(mode="json"),
        "loaded": loaded,
        "incumbent": content.incumbent,
        "rulings": {name: [asdict(ruling) for ruling in its] for name, its in rulings.items()},
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


def _losses(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("step", *LOSSES) if key in row}


def _refuse_unfit(content: ReportContent) -> None:
    comparison = content.comparison
    judged = comparison.judged
    if content.verdict_subject not in judged:
        raise UserError(
            f"the report's subject {content.verdict_subject!r} was not compared",
            where="verdict_subject",
            mend=f"Name one of: {', '.join(judged) or 'none was given besides the base'}.",
        )
    if [case.name for case in content.cases] != [row.name for row in comparison.rows]:
        raise UserError(
            "the cases are not those that were compared", where="cases", mend="Give the cases that compare() was given."
        )
