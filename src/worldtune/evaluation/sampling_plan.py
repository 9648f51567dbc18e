"""How candidates are sampled, and the digest of the suite. This module imports without torch."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import ConfigDict

from worldtune.core.actions import DEFAULT_GUIDANCE
from worldtune.core.files import digest_json
from worldtune.evaluation.results import CaseRow


@dataclass(frozen=True)
class SamplingPlan:
    """The sampling settings of every candidate: steps, guidance, and seeds. A case has one video for each seed.

    `action_guidance` applies to adapters with an action embedder of their own.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    steps: int = 12
    guidance: float = 0.0
    seeds: tuple[int, ...] = field(default=(0,))
    action_guidance: float = DEFAULT_GUIDANCE


def suite_digest(rows: Sequence[CaseRow], plan: SamplingPlan) -> str:
    """Return the digest of the suite: the content and prompt of each real video, and the sampling plan."""
    cases = [[row.domain, row.name, row.task, row.camera, row.prompt, row.digest] for row in rows]
    sampled = {"steps": plan.steps, "guidance": float(plan.guidance), "seeds": list(plan.seeds)}
    sampled |= {"action_guidance": float(plan.action_guidance)}
    return digest_json({"cases": cases, "plan": sampled})
