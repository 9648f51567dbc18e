"""The outcome of an evaluation as plain values: what results.json holds. Metrics are called as in `measures`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from pydantic import ConfigDict

from worldtune.statistics import Estimate, Paired

FROZEN: Final = "first frame frozen"
"""The control that every comparison adds by itself: the given frame, held still."""
NEAREST: Final = "nearest training clip"
"""The control of an evaluation whose training clips are known: the one that begins most like the case, as it is."""
CONTROLS: Final = (FROZEN, NEAREST)
REFERENCE: Final = "reference"
"""The name of the real video's column: no candidate may bear it."""

_EXACT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Scores:
    """One candidate on one clip, by metric. Null: the metric does not apply. `curves`: by frame, from 1 on.

    `weights` say what a clip counts in a mean where it is not 1.
    """

    __pydantic_config__ = _EXACT

    values: dict[str, float | None]
    curves: dict[str, list[float]] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)

    @property
    def psnr_db(self) -> float:
        """PSNR, which every clip has."""
        value = self.values["psnr_db"]
        assert value is not None
        return value


def joined(parts: Sequence[Scores]) -> Scores:
    """The scores of several scorers of one video together."""
    return Scores(
        {name: value for part in parts for name, value in part.values.items()},
        {name: curve for part in parts for name, curve in part.curves.items()},
        {name: weight for part in parts for name, weight in part.weights.items()},
    )


@dataclass(frozen=True)
class Take:
    """One video: the seed of its noise, the digest of its content, its values by metric."""

    __pydantic_config__ = _EXACT

    seed: int
    digest: str
    values: dict[str, float | None]


@dataclass(frozen=True)
class CaseRow:
    """One clip with the scores of every candidate, averaged over its takes; `digest` is the real video's."""

    __pydantic_config__ = _EXACT

    name: str
    episode: str
    task: str
    camera: str
    domain: str
    prompt: str
    frames: int
    height: int
    width: int
    digest: str
    scores: dict[str, Scores]
    takes: dict[str, list[Take]]

    def gain_db(self, candidate: str, against: str) -> float:
        """PSNR of `candidate` minus PSNR of `against` on this clip, in dB."""
        return self.scores[candidate].psnr_db - self.scores[against].psnr_db

    def worst_take(self, candidate: str, against: str) -> int:
        """Which of the seeds is the candidate's worst beside its rival, by PSNR."""
        mine, theirs = self.takes[candidate], self.takes[against]
        gains = [take.values["psnr_db"] - of_seed(theirs, place).values["psnr_db"] for place, take in enumerate(mine)]
        return min(range(len(gains)), key=gains.__getitem__)


@dataclass(frozen=True)
class CandidateResult:
    """One candidate over a group of clips: means by metric, and paired results by rival and metric.

    What is paired is how good the values are (`Measure.goodness`): positive is better, whichever way the metric goes.
    """

    __pydantic_config__ = _EXACT

    means: dict[str, Estimate]
    against: dict[str, dict[str, Paired]]


@dataclass(frozen=True)
class Group:
    """A set of clips that belong together: a task, a camera, a domain, or all that the headline counts.

    `horizon`: by curve and candidate, the mean over the clips that reach each of the frames 1..T-1.
    """

    __pydantic_config__ = _EXACT

    name: str
    cases: list[str]
    results: dict[str, CandidateResult]
    horizon: dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class Comparison:
    """Every clip and every candidate, and what follows from them.

    `headline` counts the clips of the first domain; `tasks` and `cameras` divide them; `domains` divides all clips.
    `matrix` divides all clips outside the base domain by task, where there is more than one such domain.
    `not_run` are the metrics that nothing is known of, each with the reason.
    """

    __pydantic_config__ = _EXACT

    reference_candidate: str
    candidates: list[str]
    rows: list[CaseRow]
    headline: Group
    domains: list[Group]
    tasks: list[Group]
    cameras: list[Group]
    matrix: list[Group]
    not_run: dict[str, str]

    @property
    def judged(self) -> list[str]:
        """The candidates that are neither the reference candidate nor a control: gates rule on each of them."""
        return [name for name in self.candidates if name not in (self.reference_candidate, *CONTROLS)]

    def gain(self, candidate: str, metric: str = "psnr_db", against: str | None = None) -> Paired:
        """The headline's paired result of `candidate` against a rival (the base unless named)."""
        return self.headline.results[candidate].against[against or self.reference_candidate][metric]

    def worst_first(self, candidate: str, names: Sequence[str]) -> list[CaseRow]:
        """The rows of some cases, those first in which the candidate gains least over the base."""
        rows = [row for row in self.rows if row.name in set(names)]
        return sorted(rows, key=lambda row: (row.gain_db(candidate, self.reference_candidate), row.name))

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and strings."""
        return asdict(self)


def of_seed(takes: Sequence[Any], place: int) -> Any:
    """The take of the seed at `place`: a single one serves all."""
    return takes[place] if len(takes) > 1 else takes[0]
