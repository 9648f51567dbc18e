"""Remarks on an adapter of another tool, beyond its layers."""

from collections.abc import Iterator

from worldtune.adapters.formats import ForeignAdapter
from worldtune.adapters.formats.full_weights import NOT_COMPARED


def remarks(read: ForeignAdapter) -> Iterator[str]:
    """Yield a line for each fully trained weight, each reason for leaving tensors out, and each note of the reader."""
    for name in read.trained:
        yield f"trained in full: {name}"
    left_out = read.left_out | dict.fromkeys(read.other_weights, NOT_COMPARED)
    for reason in dict.fromkeys(left_out.values()):
        names = [name for name, why in left_out.items() if why == reason]
        yield f"left out: {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''} ({reason})"
    for note in read.notes:
        yield f"note: {note}"
