"""The content of a report except its videos, as results.json holds it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ConfigDict, FiniteFloat, JsonValue, TypeAdapter, ValidationError

from worldtune.core.settings import find_bool_mismatch
from worldtune.core.strict_io import read_json
from worldtune.errors import DataError, UserError
from worldtune.evaluation.comparison.gates import GatePolicy, GateResult
from worldtune.evaluation.judging.calibration import JudgeRecord
from worldtune.evaluation.learned.frechet import Distance
from worldtune.evaluation.report.consistency import check_consistency
from worldtune.evaluation.report.votes import Vote
from worldtune.evaluation.results import Comparison
from worldtune.evaluation.sampling_plan import SamplingPlan

FORMAT: Final = "worldtune report 8"
Scalar = str | bool | int | FiniteFloat | None

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Figure:
    """One measured figure and its goal. If the value is None, `why` holds the reason."""

    __pydantic_config__ = _STRICT

    name: str
    value: float | None
    unit: str
    goal: float | None
    better: str
    reached: bool | None
    why: str | None = None


@dataclass(frozen=True)
class SavedReport:
    """The content of results.json.

    `videos` maps case → column → path of the mp4 in the report folder; `curves` maps runs to rows by step;
    `shown_seeds` are the seeds of these videos by case. `gate_results` by candidate follow from `policy`, `comparison`,
    `loaded` (None: unknown) and `incumbent`; `gates` is the digest of the policy. `plan` is the sampling plan, None if
    unknown; `suite` is the digest of the plan and the clips.
    """

    __pydantic_config__ = _STRICT

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
    retention: list[dict[str, Scalar]]
    reproduce: str
    videos: dict[str, dict[str, str]]
    shown_seeds: dict[str, int]
    policy: GatePolicy
    loaded: dict[str, str | None]
    incumbent: str | None
    gate_results: dict[str, list[GateResult]]
    notes: list[str]
    judge: JudgeRecord | None
    votes: list[Vote]
    distances: list[Distance]
    no_distances: dict[str, str]
    weights: dict[str, str]
    plan: SamplingPlan | None
    suite: str | None
    gates: str

    @property
    def blind_baseline(self) -> str:
        """The candidate that people compare the subject with in blind votes: the incumbent, else the base."""
        incumbent = self.incumbent if self.incumbent != self.verdict_subject else None
        return incumbent or self.comparison.reference_candidate

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts, lists, numbers and strings."""
        return asdict(self) | {"policy": self.policy.model_dump(mode="json")}


def parse_report(value: Any, *, where: str) -> SavedReport:
    """Return the report of a results.json's content. Recompute everything that follows from its scores and compare.

    Raise DataError if the content is invalid or inconsistent. Changed scores with recomputed results pass; a signature
    must vouch for the scores.
    """
    try:
        saved = TypeAdapter(SavedReport).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"not the results of an evaluation: {key}: {first['msg']}",
            where=where,
            hint="Use a file that worldtune evaluate wrote, unchanged.",
        ) from error
    if fault := find_bool_mismatch(value, saved.to_json()):
        raise DataError(f"not the results of an evaluation: {fault}", where=where, hint="Correct the value.")
    if saved.format != FORMAT:
        raise DataError(
            f"results in the format {saved.format!r}, this version reads {FORMAT!r}",
            where=where,
            hint="Run the evaluation again with this version.",
        )
    for figure in saved.figures:
        check_figure(figure)
    check_consistency(saved, where)
    return saved


def read_report(results: Path) -> SavedReport:
    """Read a results.json. Raise DataError if it is unreadable or invalid, or a video it names is missing."""
    saved = parse_report(read_json(results, hint="Run the evaluation again."), where=str(results))
    for row in saved.videos.values():
        for path in row.values():
            if not (results.parent / path).is_file():
                raise DataError(
                    f"the video {path} is missing",
                    where=str(results),
                    hint="Keep the videos folder next to results.json, or run the evaluation again.",
                )
    return saved


def check_figure(figure: Figure) -> None:
    """Raise UserError if a figure has neither value nor reason, or `reached` contradicts its value."""
    where = f"figure {figure.name}"
    if figure.better not in ("higher", "lower"):
        raise UserError(f"better is {figure.better!r}", where=where, hint='Use "higher" or "lower".')
    if figure.value is None:
        if not figure.why:
            raise UserError("no value and no reason", where=where, hint='Give the reason in "why".')
        if figure.reached:
            raise UserError("reached without a value", where=where, hint="Set reached to null or false.")
    elif figure.goal is not None and figure.reached is not None and figure.value != figure.goal:
        above = figure.value > figure.goal
        if figure.reached != (above if figure.better == "higher" else not above):
            raise UserError(
                f"value {figure.value:g}, goal {figure.goal:g} ({figure.better} is better) and "
                f"reached={figure.reached} contradict each other",
                where=where,
                hint="Correct the figure.",
            )
