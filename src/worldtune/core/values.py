"""What a value from somebody else's file may be: its depth, its digits, its characters."""

import re

DEEPEST = 64  # mappings and lists inside each other
MOST_DIGITS = 40  # of a whole number; Hugging Face writes 31 for "no limit"
_BAD = re.compile("[\x00\ud800-\udfff]")


class RefusedError(ValueError):
    """A value that is well written, and not taken."""


def bad_character(text: str) -> str | None:
    """Name what a text holds that no file name and no UTF-8 can hold: a NUL or a lone surrogate; None if neither."""
    found = _BAD.search(text)
    return None if found is None else "a NUL character" if found[0] == "\x00" else "a lone surrogate"
