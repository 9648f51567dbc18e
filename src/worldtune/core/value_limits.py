"""Limits of values from untrusted files: depth, digits and characters."""

import re

MAX_DEPTH = 64  # mappings and lists inside each other
MAX_DIGITS = 40  # of an integer; Hugging Face writes one of 31 digits for "no limit"
_BAD_CHARACTERS = re.compile("[\x00\ud800-\udfff]")


class DisallowedValueError(ValueError):
    """A well-formed value that is not allowed."""


def find_bad_character(text: str) -> str | None:
    """Return a name of the first NUL or lone surrogate in a text, which no file can hold; None if there is none."""
    found = _BAD_CHARACTERS.search(text)
    return None if found is None else "a NUL character" if found[0] == "\x00" else "a lone surrogate"
