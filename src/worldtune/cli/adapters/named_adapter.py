"""Parse adapters on the command line: ADAPTER or ADAPTER=STRENGTH."""

from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING

from worldtune.cli.terminal.output import echo
from worldtune.errors import UserError

if TYPE_CHECKING:
    from worldtune.adapters.formats import ForeignAdapter


def weighted(text: str) -> tuple[str, float]:
    """Return the adapter and the strength in `ADAPTER` or `ADAPTER=STRENGTH`; an existing path is not split.

    Raise UserError if the strength is not a finite number.
    """
    path, equals, number = text.rpartition("=")
    if not equals or Path(text).expanduser().exists():
        return text, 1.0
    try:
        strength = float(number)
    except ValueError:
        strength = nan
    if not isfinite(strength):
        raise UserError(f"'{number}' is not a finite number", where=text, hint="Write a strength such as ADAPTER=0.8.")
    return path, strength


def say_rest(read: "ForeignAdapter") -> None:
    """Print the fully trained weights, the tensors that are left out, and the reader's remarks."""
    from worldtune.adapters.remarks import remarks

    for remark in remarks(read):
        echo(remark)
