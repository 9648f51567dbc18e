"""The report folder: index.html, results.json and videos/*.mp4, readable without a server or a network.

Shape letters: T frames, H height, W width, C channels.
"""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldtune.errors import DataError, UserError
from worldtune.evaluation.case import Case
from worldtune.evaluation.compare import Candidates
from worldtune.evaluation.comparison import FROZEN, REFERENCE, Comparison
from worldtune.evaluation.page import render_page
from worldtune.evaluation.plots import LOSSES
from worldtune.evaluation.preview_video import write_preview
from worldtune.evaluation.saved_report import FORMAT, SavedReport, parse_report, read_report
from worldtune.evaluation.verdict import verdict
from worldtune.files import atomic_file, atomic_folder, make_folder, write_json

INDEX, RESULTS, VIDEOS = "index.html", "results.json", "videos"


@dataclass(frozen=True)
class ReportContent:
    """What a report is made of.

    `verdict_subject` is the candidate whose verdict stands on top; `figures` are objects with name, value, unit,
    goal, better, reached (and why when value is null); `curves` maps a run's name to the rows of its
    metrics.jsonl; `lineage` may nest; `forgetting` is a list of table rows with the same keys; `reproduce` is the
    command that makes this report again; `fps` the rate of the videos.
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


def write_report(folder: Path, content: ReportContent) -> Path:
    """Write the report and return the path of its index.html; an older report in `folder` is replaced as a whole.

    Raises UserError when `folder` holds anything but a report, the subject is no candidate, the comparison is of
    other cases, a figure contradicts itself, or a number is not finite.
    """
    check_report_folder(folder)
    _refuse_unfit(content)
    columns = [REFERENCE, *(name for name in content.comparison.candidates if name != FROZEN)]
    files = {name: f"{place}-{_slug(name)}" for place, name in enumerate(columns)}
    videos = {
        case.name: {column: f"{VIDEOS}/{place:04d}-{files[column]}.mp4" for column in columns}
        for place, case in enumerate(content.cases)
    }
    saved = _saved(content, columns, videos)
    with atomic_folder(folder) as partial:
        (partial / VIDEOS).mkdir()
        _write_videos(partial, content, videos)
        write_json(partial / RESULTS, saved.to_json())
        (partial / INDEX).write_text(render_page(saved), encoding="utf-8")
    return folder / INDEX


def check_report_folder(folder: Path) -> None:
    """Raises UserError when no report can be written to `folder`, or it holds anything else."""
    make_folder(folder.parent)
    ours = {INDEX, RESULTS, VIDEOS}
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if folder.exists() and (not folder.is_dir() or names - ours or (names and RESULTS not in names)):
        raise UserError(
            "the folder holds something else than a report", where=str(folder), mend="Name a new or empty folder."
        )


def rebuild_report(results: Path) -> Path:
    """Draw index.html again from a results.json and the videos beside it; returns its path.

    Raises DataError when the results cannot be read or a video is missing.
    """
    index = results.parent / INDEX
    page = render_page(read_report(results))
    with atomic_file(index) as partial:
        partial.write_text(page, encoding="utf-8")
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


def _write_videos(folder: Path, content: ReportContent, videos: Mapping[str, Mapping[str, str]]) -> None:
    with ThreadPoolExecutor() as pool:
        writing = []
        for case in content.cases:
            for column, path in videos[case.name].items():
                clip_THWC = case.reference_THWC if column == REFERENCE else content.candidates[column][case.name]
                writing.append(pool.submit(write_preview, folder / path, clip_THWC, content.fps))
        for written in writing:
            written.result()


def _saved(content: ReportContent, columns: list[str], videos: dict[str, dict[str, str]]) -> SavedReport:
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
    }
    return parse_report(value, where="the report's content")


def _losses(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("step", *LOSSES) if key in row}


def _refuse_unfit(content: ReportContent) -> None:
    comparison = content.comparison
    judged = [name for name in comparison.candidates if name not in (FROZEN, comparison.reference_candidate)]
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


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "x"
