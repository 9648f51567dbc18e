"""The scores of one video, as scorers return them and a comparison holds them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import ConfigDict


@dataclass(frozen=True)
class Scores:
    """Scores of one candidate on one clip, by metric; None where the metric does not apply.

    `curves` hold values for frames 1..T-1. `weights` hold the clip's weight in a mean, where it is not 1.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    values: dict[str, float | None]
    curves: dict[str, list[float]] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)

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
    )
