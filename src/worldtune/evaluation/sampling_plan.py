"""How candidates are sampled, and the digest of what they are judged on. It loads without torch."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import ConfigDict

from worldtune.evaluation.comparison import CaseRow
from worldtune.files import digest_json


@dataclass(frozen=True)
class SamplingPlan:
    """How every candidate is sampled: evaluations, guidance, and the seeds, of each of which a case has a video."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    steps: int = 12
    guidance: float = 0.0
    seeds: tuple[int, ...] = field(default=(0,))


def suite_digest(rows: Sequence[CaseRow], plan: SamplingPlan) -> str:
    """Names what candidates are judged on: each real video by what it shows, its prompt, and how they are sampled."""
    asked = [[row.domain, row.name, row.task, row.camera, row.prompt, row.digest] for row in rows]
    sampled = {"steps": plan.steps, "guidance": float(plan.guidance), "seeds": list(plan.seeds)}
    return digest_json({"cases": asked, "plan": sampled})
