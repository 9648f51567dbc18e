"""The labels of a video as an .npz file."""

from pathlib import Path

import numpy as np

from worldtune.core.files import atomic_file
from worldtune.dreams.idm.labels import Labels
from worldtune.errors import DataError

HINT = "Label the video again."


def write_labels(path: Path, labels: Labels) -> None:
    """Write the labels, atomically."""
    arrays = {"commands_ID": labels.commands_ID, "spread_I": labels.spread_I}
    if labels.states_TS is not None:
        arrays["states_TS"] = labels.states_TS
    with atomic_file(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_labels(path: Path) -> Labels:
    """Return the labels of a file. Raise DataError if it is missing or damaged."""
    try:
        with np.load(path) as arrays:
            states_TS = arrays["states_TS"] if "states_TS" in arrays.files else None
            return Labels(arrays["commands_ID"], states_TS, arrays["spread_I"])
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError("the labels cannot be read", where=str(path), hint=HINT) from error
