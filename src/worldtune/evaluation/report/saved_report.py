"""Everything a report shows except the pixels, as results.json keeps it."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ConfigDict, FiniteFloat, JsonValue, TypeAdapter, ValidationError

from worldtune.core.strict_io import read_json
from worldtune.errors import DataError, UserError
from worldtune.evaluation.comparison import CONTROLS, REFERENCE, Comparison
from worldtune.evaluation.gates import Ruling
from worldtune.evaluation.judging.calibration import JudgeRecord
from worldtune.evaluation.learned.frechet import Distance
from worldtune.evaluation.report.votes import Vote, refuse_strange

FORMAT: Final = "worldtune report 4"
VIDEO_PATH = re.compile(r"videos/[a-z0-9][a-z0-9.-]*\.mp4")
Plain = str | bool | int | FiniteFloat | None

_EXACT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Figure:
    """One measured figure beside its goal; a null value carries its reason in `why`."""

    __pydantic_config__ = _EXACT

    name: str
    value: float | None
    unit: str
    goal: float | None
    better: str
    reached: bool | None
    why: str | None = None


@dataclass(frozen=True)
class SavedReport:
    """`videos` maps case → column → path of the mp4 inside the report's folder; `curves` run → rows by step.

    `shown_seeds` are those of the videos, by case; `rulings` the gates' outcomes, by candidate; `suite` and `gates` the
    digests of what was judged on, and by which policy, None where that is not known.
    """

    __pydantic_config__ = _EXACT

    format: str
    title: str
    verdict_subject: str
    verdict: str
    fps: float
    columns: list[str]
    figures: list[Figure]
    comparison: Comparison
    curves: dict[str, list[dict[str, FiniteFloat | None]]]
    lineage: dict[str, JsonValue]
    forgetting: list[dict[str, Plain]]
    reproduce: str
    videos: dict[str, dict[str, str]]
    shown_seeds: dict[str, int]
    rulings: dict[str, list[Ruling]]
    incumbent: str | None
    notes: list[str]
    judge: JudgeRecord | None
    votes: list[Vote]
    distances: list[Distance]
    no_distances: dict[str, str]
    weights: dict[str, str]
    suite: str | None
    gates: str | None

    @property
    def blind_rival(self) -> str:
        """Whom people compare the subject with: what is in use, else the base."""
        incumbent = self.incumbent if self.incumbent != self.verdict_subject else None
        return incumbent or self.comparison.reference_candidate

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and strings."""
        return asdict(self)


def parse_report(value: Any, *, where: str) -> SavedReport:
    """Check a results.json's content. Raises DataError when it is not one, or contradicts itself."""
    try:
        saved = TypeAdapter(SavedReport).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"not the results of an evaluation: {key}: {first['msg']}",
            where=where,
            mend="Every field must be there, known, and its numbers finite.",
        ) from error
    if saved.format != FORMAT:
        raise DataError(
            f"results in the format {saved.format!r}, this version reads {FORMAT!r}",
            where=where,
            mend="Run the evaluation again with this version.",
        )
    for figure in saved.figures:
        check_figure(figure)
    _check_agreement(saved, where)
    return saved


def read_report(results: Path) -> SavedReport:
    """Read a results.json. Raises DataError when it is unreadable, is no JSON, or lacks a video it names."""
    saved = parse_report(read_json(results, mend="Run the evaluation again."), where=str(results))
    for row in saved.videos.values():
        for path in row.values():
            if not (results.parent / path).is_file():
                raise DataError(
                    f"the video {path} is missing",
                    where=str(results),
                    mend="Keep the videos folder beside results.json, or run the evaluation again.",
                )
    return saved


def check_figure(figure: Figure) -> None:
    """Raises UserError when a figure has neither value nor reason, or claims what its value contradicts."""
    where = f"figure {figure.name}"
    if figure.better not in ("higher", "lower"):
        raise UserError(f"better is {figure.better!r}", where=where, mend='Say "higher" or "lower".')
    if figure.value is None:
        if not figure.why:
            raise UserError("no value and no reason", where=where, mend='Say in "why" why it was not measured.')
        if figure.reached:
            raise UserError("reached without a value", where=where, mend="Leave reached null or false.")
    elif figure.goal is not None and figure.reached is not None and figure.value != figure.goal:
        above = figure.value > figure.goal
        if figure.reached != (above if figure.better == "higher" else not above):
            raise UserError(
                f"value {figure.value:g}, goal {figure.goal:g} ({figure.better} is better) and "
                f"reached={figure.reached} contradict each other",
                where=where,
                mend="Correct the figure.",
            )


def _check_agreement(saved: SavedReport, where: str) -> None:
    comparison = saved.comparison
    mend = "Run the evaluation again."
    generated = [name for name in comparison.candidates if name not in CONTROLS]
    if saved.columns != [REFERENCE, *generated]:
        raise DataError("the columns are not the compared candidates", where=where, mend=mend)
    if saved.verdict_subject not in set(generated) - {comparison.reference_candidate}:
        raise DataError(f"the subject {saved.verdict_subject!r} was not compared", where=where, mend=mend)
    scored = [list(row.scores) for row in comparison.rows]
    judged = [list(group.results) for group in (comparison.headline, *comparison.domains)]
    if any(names != comparison.candidates for names in (*scored, *judged)):
        raise DataError("a clip or a group lacks a candidate", where=where, mend=mend)
    if not set(saved.rulings) <= set(generated) or saved.incumbent not in {None, *generated}:
        raise DataError("gates or an incumbent of what was not compared", where=where, mend=mend)
    refuse_strange(saved.votes, comparison, where)
    if set(saved.shown_seeds) != {row.name for row in comparison.rows}:
        raise DataError("the seeds shown are not those of the compared clips", where=where, mend=mend)
    if set(saved.videos) != {row.name for row in comparison.rows}:
        raise DataError("the videos are not those of the compared clips", where=where, mend=mend)
    for case, row in saved.videos.items():
        if list(row) != saved.columns:
            raise DataError(f"the videos of {case} are not {', '.join(saved.columns)}", where=where, mend=mend)
        for path in row.values():
            if not VIDEO_PATH.fullmatch(path):
                raise DataError(f"a video outside the report's folder: {path}", where=where, mend=mend)
