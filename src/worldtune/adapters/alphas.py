"""Alphas that the user states for adapters whose files state none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worldtune.adapters.formats import Alpha
from worldtune.errors import UserError

HOW = "Use --alpha rank, --alpha 16, or --alpha ADAPTER=16 for one adapter."


@dataclass(frozen=True)
class Alphas:
    """One alpha for all adapters of a command, and alphas for single adapters by path."""

    common: Alpha | None = None
    by_path: Mapping[Path, Alpha] = field(default_factory=dict)

    def of(self, path: Path) -> Alpha | None:
        """Return the alpha of one adapter, None if the user stated none."""
        return self.by_path.get(path, self.common)

    def check(self, adapters: Sequence[Path]) -> None:
        """Raise UserError if an alpha is given for an adapter that is not among `adapters`."""
        if unknown := next((path for path in self.by_path if path not in adapters), None):
            raise UserError(f"{unknown} is not an adapter of this command", where="--alpha", hint=HOW)


AlphaValue = Alphas | Alpha | Mapping[str | Path, Alpha] | None


def alphas_of(value: AlphaValue) -> Alphas:
    """Return the alphas of a value for all adapters, or of a mapping from paths to values."""
    if isinstance(value, Alphas):
        return value
    if isinstance(value, Mapping):
        return Alphas(None, {Path(path).expanduser(): alpha for path, alpha in value.items()})
    return Alphas(value)
