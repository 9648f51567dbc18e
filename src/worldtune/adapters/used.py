"""An adapter in use: its folder, and the facts that a registry verified."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Used:
    """An adapter's folder; `release` names its release for manifests.

    `card` is the digest of the release's card, which holds the digest of the weights: only these bytes can be loaded.
    """

    path: Path
    release: str | None = None
    card: str | None = None
