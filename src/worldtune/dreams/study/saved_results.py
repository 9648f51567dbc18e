"""The content of a study's results.json."""

from pathlib import Path

from pydantic import Field

from worldtune.core.ranges import Count
from worldtune.core.settings import StrictModel, parse_model
from worldtune.core.strict_io import read_json
from worldtune.dreams.study.analysis import Worth
from worldtune.dreams.study.critic_counts import CriticCounts
from worldtune.dreams.study.forecast import Forecast
from worldtune.dreams.study.room import Room
from worldtune.dreams.study.settings import Arm, StudySettings
from worldtune.errors import DataError

RESULTS = "results.json"
Axes = tuple[float | None, ...]


class Estimate(StrictModel):
    """A mean with its 95 % interval, as `HierarchicalEstimate` has it."""

    mean: float
    low: float
    high: float
    draws: Count
    seeds: Count
    resets: Count
    interval_covers: tuple[str, ...]


class ArmSuccess(Estimate):
    """The success of an arm. by_policy: of each policy, by draw and seed. real, synthetic: episodes it learns from."""

    by_policy: tuple[tuple[float, ...], ...]
    real: float
    synthetic: float


class Difference(Estimate):
    """The success of an arm minus that of another."""

    arm: Arm
    other: Arm


class EndPoints(StrictModel):
    """What `end_point_statistics` returns; distances in the states' units (m)."""

    slope: float | None
    slope_by_axis: Axes
    error: float | None
    spread: float | None
    error_over_spread: float | None
    clips: Count
    groups: Count


class VideoFigures(StrictModel):
    """What an IDM reads from the videos of one task, as `idm.figures.measure` returns it."""

    clips: Count
    displacement_r2: float | None
    displacement_r2_by_axis: Axes
    error_at_frame: dict[str, float]
    end_points: EndPoints
    spearman: float
    command_r2: Axes = ()
    balanced_accuracy: dict[str, float | None] = Field(default_factory=dict)


class TaskResults(StrictModel):
    """The results of one task. replay: the success of replayed labels, by where they are from."""

    room: Room
    replay: dict[str, float]
    success: dict[Arm, ArmSuccess]
    differences: tuple[Difference, ...]
    share_of_oracle: float | None
    worth: Worth | None
    verdict: str

    def difference(self, arm: Arm, other: Arm) -> Difference | None:
        """Return the difference of two arms, None if one was not run."""
        return next((row for row in self.differences if (row.arm, row.other) == (arm, other)), None)


class StudyResults(StrictModel):
    """The results of a study.

    seconds: of each stage, summed over processes. figures: of each draw, by video ("video", "codec", or an arm's
    dreams) and task; empty if no task had room. forecast: None then.
    """

    settings: StudySettings
    commit: str
    machine: dict[str, str | int | float | None]
    seconds: dict[str, float]
    policy_seconds: float
    tasks: dict[str, TaskResults]
    figures: tuple[dict[str, dict[str, VideoFigures]], ...]
    critics: tuple[CriticCounts, ...]
    forecast: Forecast | None
    verdict: str


def read_results(study: Path) -> StudyResults:
    """Return the results of a study. Raise UserError if it has none, or the file is damaged."""
    path = study / RESULTS
    if not path.is_file():
        raise DataError("the study has no results", where=str(study), hint="Run `worldtune dream-study` to its end.")
    return parse_model(StudyResults, read_json(path), str(path))
