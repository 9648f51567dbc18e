"""The result of a policy evaluation: success of every policy from every reset, saved as JSON.

Shapes: P policies, R resets.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import model_validator

from worldtune.core.files import write_json
from worldtune.core.intervals.hierarchical_bootstrap import HierarchicalEstimate, estimate_difference
from worldtune.core.intervals.wilson import wilson_interval
from worldtune.core.ranges import Count, Seed
from worldtune.core.settings import StrictModel, parse_model
from worldtune.core.strict_io import read_json_object

FORMAT: Literal[1] = 1


class PolicyRow(StrictModel):
    """Success and frame intervals of one policy from each reset, in the order of the seeds."""

    name: str
    success: list[bool]
    intervals: list[Count]


class SavedEvaluation(StrictModel):
    """The content of the file of a policy evaluation."""

    format: Literal[1] = FORMAT
    task: str
    view: str
    most_intervals: Count
    seeds: list[Seed]
    policies: list[PolicyRow]

    @model_validator(mode="after")
    def _check_lengths(self) -> "SavedEvaluation":
        for row in self.policies:
            for results in (row.success, row.intervals):
                if len(results) != len(self.seeds):
                    raise ValueError(f"{row.name!r} has {len(results)} results for {len(self.seeds)} seeds")
        return self


@dataclass(frozen=True)
class PolicyEvaluation:
    """Success of policies over the same evaluation seeds."""

    task: str
    view: str
    most_intervals: int
    seeds: list[int]
    policies: list[PolicyRow]

    def successes(self, name: str) -> int:
        """Return how many resets the policy solves."""
        return sum(self._row(name).success)

    def interval(self, name: str) -> tuple[float, float]:
        """Return Wilson's 95 % interval of the success rate of this policy; it does not cover other training seeds."""
        return wilson_interval(self.successes(name), len(self.seeds))

    def difference(self, name: str, other: str) -> HierarchicalEstimate | None:
        """Return the success of a policy minus that of another from the same resets, None for a single reset."""
        if len(self.seeds) < 2:
            return None
        first, second = (np.array([[self._row(policy).success]]) for policy in (name, other))
        return estimate_difference(first, second)

    def as_json(self) -> dict[str, Any]:
        """Return the content of the saved file."""
        return SavedEvaluation(**vars(self)).model_dump(mode="json")

    def save(self, path: Path) -> None:
        """Write the evaluation as JSON, atomically."""
        write_json(path, self.as_json())

    def _row(self, name: str) -> PolicyRow:
        return next(row for row in self.policies if row.name == name)


def read_evaluation(path: Path) -> PolicyEvaluation:
    """Return a saved evaluation. Raise UserError if it is not valid or its rows do not fit its seeds."""
    saved = parse_model(SavedEvaluation, read_json_object(path), str(path))
    return PolicyEvaluation(**{name: getattr(saved, name) for name in PolicyEvaluation.__dataclass_fields__})


def rows_of(names: tuple[str, ...], success_PR: np.ndarray, intervals_PR: np.ndarray) -> list[PolicyRow]:
    """Return the rows of the policies."""
    columns: Any = zip(names, success_PR.tolist(), intervals_PR.tolist(), strict=True)
    return [PolicyRow(name=name, success=success, intervals=intervals) for name, success, intervals in columns]
