"""An adapter that is in use: its folder, and what a registry verified of it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Used:
    """An adapter's folder; `release` is which release it is, for the record of what was made with it.

    `card` is the digest of the release's card, which names its weights: whoever loads it, loads these bytes or none.
    """

    path: Path
    release: str | None = None
    card: str | None = None
