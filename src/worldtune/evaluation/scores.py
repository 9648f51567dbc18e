"""The scores of one video, as scorers return them and a comparison holds them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import ConfigDict


@dataclass(frozen=True)
class EndPoint:
    """The end of the gripper's path relative to its start, read from the generated and from the real video, in mm.

    `reader_error` is the root mean square error of the reader on real held-out clips. All have a number for each axis.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    generated: list[float]
    real: list[float]
    reader_error: list[float]


@dataclass(frozen=True)
class Scores:
    """Scores of one candidate on one clip, by metric; None where the metric does not apply.

    `curves` hold values for frames 1..T-1. `weights` hold the clip's weight in a mean, where it is not 1. The metrics
    of `ACROSS_CASES` are computed from the `end_point` of all clips.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    values: dict[str, float | None]
    curves: dict[str, list[float]] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    end_point: EndPoint | None = None

    @property
    def psnr_db(self) -> float:
        """PSNR in dB; every clip has it."""
        value = self.values["psnr_db"]
        assert value is not None
        return value


def joined(parts: Sequence[Scores]) -> Scores:
    """Return the scores of several scorers on one video as one."""
    return Scores(
        {name: value for part in parts for name, value in part.values.items()},
        {name: curve for part in parts for name, curve in part.curves.items()},
        {name: weight for part in parts for name, weight in part.weights.items()},
        next((part.end_point for part in parts if part.end_point is not None), None),
    )
