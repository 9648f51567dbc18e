"""Everything a report shows except the pixels, as results.json keeps it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ConfigDict, FiniteFloat, JsonValue, TypeAdapter, ValidationError

from worldtune.core.strict_io import read_json
from worldtune.errors import DataError, UserError
from worldtune.evaluation.comparison import Comparison
from worldtune.evaluation.gates import Policy, Ruling
from worldtune.evaluation.judging.calibration import JudgeRecord
from worldtune.evaluation.learned.frechet import Distance
from worldtune.evaluation.report.agreement import check_agreement
from worldtune.evaluation.report.votes import Vote
from worldtune.evaluation.sampling_plan import SamplingPlan
from worldtune.strict import mistaken_truth

FORMAT: Final = "worldtune report 5"
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

    `shown_seeds` are those of the videos, by case. `rulings` are the gates' outcomes, by candidate: those of `policy`
    on the `comparison`, of what was `loaded` for each candidate (None: nobody saw it) and of the `incumbent`; `gates`
    is the policy's digest. `plan` says how candidates were sampled, None where that is not known; `suite` is the
    digest of the plan and of the clips.
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
    policy: Policy
    loaded: dict[str, str | None]
    incumbent: str | None
    rulings: dict[str, list[Ruling]]
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
    def blind_rival(self) -> str:
        """Whom people compare the subject with: what is in use, else the base."""
        incumbent = self.incumbent if self.incumbent != self.verdict_subject else None
        return incumbent or self.comparison.reference_candidate

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and strings."""
        return asdict(self) | {"policy": self.policy.model_dump(mode="json")}


def parse_report(value: Any, *, where: str) -> SavedReport:
    """Check a results.json's content: everything that follows from its scores is computed again and compared.

    Raises DataError when it is not one, or contradicts itself. Whoever changes the scores themselves, and all that
    follows from them, is not noticed here: a signature says who vouches for them.
    """
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
    if fault := mistaken_truth(value, saved.to_json()):
        raise DataError(f"not the results of an evaluation: {fault}", where=where, mend="Correct the value.")
    if saved.format != FORMAT:
        raise DataError(
            f"results in the format {saved.format!r}, this version reads {FORMAT!r}",
            where=where,
            mend="Run the evaluation again with this version.",
        )
    for figure in saved.figures:
        check_figure(figure)
    check_agreement(saved, where)
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
