"""The results of an evaluation as plain values, as results.json holds them. `METRICS` defines the metric names."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from pydantic import ConfigDict

from worldtune.core.statistics import MeanEstimate, PairedComparison
from worldtune.evaluation.scores import Scores

FROZEN: Final = "first frame frozen"
"""The control that every comparison adds by itself: the first frame, held still."""
NEAREST: Final = "nearest training clip"
"""The control for known training clips: the unchanged clip whose first frame is most like the case's."""
CODEC: Final = "codec round trip"
"""The control that shows the loss of the base's codec: the real video through the VAE and back."""
CONTROLS: Final = (FROZEN, NEAREST, CODEC)
REFERENCE: Final = "reference"
"""The column name of the real video; no candidate may have it."""

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class SeedScore:
    """The scores of one video: the seed of its noise, the digest of its content, its values by metric."""

    __pydantic_config__ = _STRICT

    seed: int
    digest: str
    values: dict[str, float | None]


@dataclass(frozen=True)
class CaseRow:
    """One clip with the scores of every candidate, averaged over the seeds; `digest` is the real video's."""

    __pydantic_config__ = _STRICT

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
    seed_scores: dict[str, list[SeedScore]]

    def gain_db(self, candidate: str, against: str) -> float:
        """Return PSNR of `candidate` minus PSNR of `against` on this clip, in dB."""
        return self.scores[candidate].psnr_db - self.scores[against].psnr_db

    def worst_seed_index(self, candidate: str, against: str) -> int:
        """Return the index of the seed at which the candidate gains the least PSNR over the baseline `against`."""
        gains = [
            seed_score.values["psnr_db"] - select_seed(self.seed_scores[against], index).values["psnr_db"]
            for index, seed_score in enumerate(self.seed_scores[candidate])
        ]
        return min(range(len(gains)), key=gains.__getitem__)


@dataclass(frozen=True)
class CandidateResult:
    """One candidate over a group of clips: means by metric, and paired results by baseline and metric.

    Paired results compare `MetricDefinition.goodness`: positive is better, also where a lower value is better.
    """

    __pydantic_config__ = _STRICT

    means: dict[str, MeanEstimate]
    against: dict[str, dict[str, PairedComparison]]


@dataclass(frozen=True)
class Group:
    """A group of clips: a task, a camera, a domain, or the headline.

    `horizon`: by curve and candidate, the mean at each frame 1..T-1 over the clips that are long enough.
    """

    __pydantic_config__ = _STRICT

    name: str
    cases: list[str]
    results: dict[str, CandidateResult]
    horizon: dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class Comparison:
    """The scores of every candidate on every clip, and the results computed from them.

    `headline` holds the clips of the first domain; `tasks` and `cameras` divide them; `domains` divides all clips.
    `matrix` divides the clips outside the base domain by task, if there is more than one such domain.
    `not_run` maps each metric that was not measured to the reason.
    """

    __pydantic_config__ = _STRICT

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
    def tested_candidates(self) -> list[str]:
        """The candidates that gates apply to: all except the reference candidate and the controls."""
        return [name for name in self.candidates if name not in (self.reference_candidate, *CONTROLS)]

    def gain(self, candidate: str, metric: str = "psnr_db", against: str | None = None) -> PairedComparison:
        """Return the headline's paired result of `candidate` against a baseline (default: the reference candidate)."""
        return self.headline.results[candidate].against[against or self.reference_candidate][metric]

    def worst_first(self, candidate: str, names: Sequence[str]) -> list[CaseRow]:
        """Return the rows of the named cases, sorted by the candidate's gain over the base, smallest first."""
        rows = [row for row in self.rows if row.name in set(names)]
        return sorted(rows, key=lambda row: (row.gain_db(candidate, self.reference_candidate), row.name))

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts, lists, numbers and strings."""
        return asdict(self)


def select_seed(by_seed: Sequence[Any], index: int) -> Any:
    """Return the item of the seed at `index`. A single item stands for all seeds."""
    return by_seed[index] if len(by_seed) > 1 else by_seed[0]
