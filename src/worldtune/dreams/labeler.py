"""The labels of a dream: what an inverse dynamics model reads from its video, and their file.

Shapes: T frames, H×W pixels, C colors, D numbers of a command, S numbers of a state, I = T − 1 intervals.
"""

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from worldtune.core.actions.space import ActionSpace
from worldtune.core.files import atomic_file
from worldtune.dreams.idm.labels import Labels
from worldtune.errors import DataError

Array = npt.NDArray[np.float32]
HINT = "Make the dream again in another folder."


class LabelerCard(Protocol):
    """What a labeler was trained on, as in the card of an inverse dynamics model."""

    @property
    def name(self) -> str: ...
    @property
    def base(self) -> str: ...
    @property
    def codec_digest(self) -> str: ...
    @property
    def state_names(self) -> tuple[str, ...]: ...
    @property
    def action_space(self) -> ActionSpace: ...
    @property
    def action_size(self) -> int: ...
    @property
    def cameras(self) -> tuple[str, ...]: ...
    @property
    def fps(self) -> float: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...


class Labeler(Protocol):
    """An inverse dynamics model; `digest` covers its weights and its card."""

    @property
    def digest(self) -> str: ...
    @property
    def card(self) -> LabelerCard: ...

    def label(self, frames_THWC: npt.NDArray[np.uint8], start_S: Array | None) -> Labels: ...


def write_labels(path: Path, labels: Labels) -> None:
    """Write the labels as .npz, atomically."""
    with atomic_file(path) as partial, partial.open("wb") as file:
        if labels.states_TS is None:
            np.savez(file, commands_ID=labels.commands_ID, spread_I=labels.spread_I)
        else:
            np.savez(file, commands_ID=labels.commands_ID, states_TS=labels.states_TS, spread_I=labels.spread_I)


def read_labels(path: Path) -> Labels:
    """Return the labels of a .npz file. Raise DataError if it is missing or damaged."""
    try:
        with np.load(path) as arrays:
            states_TS = arrays["states_TS"] if "states_TS" in arrays.files else None
            return Labels(arrays["commands_ID"], states_TS, arrays["spread_I"])
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError("the labels cannot be read", where=str(path), hint=HINT) from error
