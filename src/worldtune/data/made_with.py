"""What generated data was made with, `made_with.json`: by it a registry finds the data of an adapter."""

from pathlib import Path

from worldtune.core.files import write_json
from worldtune.core.settings import StrictModel, parse_model
from worldtune.core.strict_io import read_json
from worldtune.errors import DataError, RecipeError

MADE_WITH = "made_with.json"
FORMAT = 1
PLACES = (MADE_WITH, f"meta/{MADE_WITH}")
HINT = "Restore the file, or make the data again."


class MadeWithAdapter(StrictModel):
    """An adapter: its name in the data, the SHA-256 of its card, and its release in a registry, if it has one."""

    name: str
    card: str
    release: str | None = None


class MadeWith(StrictModel):
    """The models that made data: digests of the base and the inverse dynamics model, and the adapters."""

    format: int = FORMAT
    base: str
    base_name: str
    adapters: tuple[MadeWithAdapter, ...]
    idm: str

    def without(self, card: str) -> "MadeWith":
        """Return this without the adapter whose card has this digest."""
        return self.model_copy(update={"adapters": tuple(a for a in self.adapters if a.card != card)})


def write_made_with(path: Path, made_with: MadeWith) -> None:
    """Write the file, atomically."""
    write_json(path, made_with.model_dump(mode="json"))


def read_made_with(folder: Path) -> MadeWith:
    """Return what the data in `folder` was made with. Raise DataError if it does not say, or the file is damaged."""
    path = next((folder / place for place in PLACES if (folder / place).is_file()), None)
    if path is None:
        hint = "Name the releases with --from."
        raise DataError(f"there is no {MADE_WITH}, which says what it was made with", where=str(folder), hint=hint)
    try:
        found = parse_model(MadeWith, read_json(path, hint=HINT), str(path))
    except RecipeError as error:
        raise DataError(error.what, where=error.where, hint=HINT) from error
    if found.format != FORMAT:
        what = f"{MADE_WITH} is of format {found.format}; this worldtune reads {FORMAT}"
        raise DataError(what, where=str(path), hint=HINT)
    return found
