"""Mean and standard deviation of the targets, as kept in the card.

Shape letters: D numbers of a command, S numbers of a state.
"""

import numpy as np
import numpy.typing as npt

from worldtune.core.actions.space import ActionSpace
from worldtune.core.settings import StrictModel
from worldtune.dreams.idm.examples import Array, Examples

Numbers = tuple[float, ...]
SMALLEST = 1e-6  # standard deviation of a number that does not vary


class Standardization(StrictModel):
    """Mean and standard deviation of each number of a target."""

    mean: Numbers
    std: Numbers

    @classmethod
    def of(cls, values: Array) -> "Standardization":
        """Return the statistics of `values` (…, numbers)."""
        flat = values.reshape(-1, values.shape[-1]).astype(np.float64)
        return cls(mean=tuple(flat.mean(0).tolist()), std=tuple(np.maximum(flat.std(0), SMALLEST).tolist()))

    def standardize(self, values: Array) -> Array:
        """Return (values − mean) / std."""
        return ((values - np.array(self.mean)) / np.array(self.std)).astype(np.float32)

    def restore(self, standardized: npt.NDArray[np.float64]) -> Array:
        """Return standardized · std + mean."""
        return (standardized * np.array(self.std) + np.array(self.mean)).astype(np.float32)


class TargetStatistics(StrictModel):
    """The statistics of commands, displacements of the states, and states."""

    command: Standardization
    displacement: Standardization
    state: Standardization

    @classmethod
    def of(cls, examples: Examples) -> "TargetStatistics":
        """Return the statistics of the training examples."""
        return cls(
            command=Standardization.of(examples.commands_NID),
            displacement=Standardization.of(examples.displacements_NIS),
            state=Standardization.of(examples.states_NTS),
        )


def measure_gain(examples: Examples, space: ActionSpace) -> Numbers:
    """Return, for each number of a command, its state's displacement in a frame interval per unit; 0 without a state.

    The gain is the least-squares slope through zero over the training clips.
    """
    columns = space.state_columns or (None,) * examples.commands_NID.shape[-1]
    return tuple(
        0.0 if column is None else _slope(examples.commands_NID[..., number], examples.displacements_NIS[..., column])
        for number, column in enumerate(columns)
    )


def _slope(x: Array, y: Array) -> float:
    x, y = x.astype(np.float64), y.astype(np.float64)
    square = float((x * x).sum())
    return float((x * y).sum()) / square if square > 0 else 0.0
