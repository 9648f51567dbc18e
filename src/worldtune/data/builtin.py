"""Datasets that ship inside the package, named `builtin:NAME`."""

from importlib.resources import files
from pathlib import Path

from worldtune.errors import DataError

BUILTIN_PREFIX = "builtin:"


def resolve_data_path(path: str) -> Path:
    """Return the folder or file that a data path names. Raise DataError if it or the built-in does not exist."""
    if path.startswith(BUILTIN_PREFIX):
        shipped = Path(str(files("worldtune"))) / "pocket" / "datasets"
        folder = shipped / path.removeprefix(BUILTIN_PREFIX)
        known = sorted(info.parts[-3] for info in shipped.glob("*/meta/info.json"))
        if folder.name not in known:
            names = ", ".join(BUILTIN_PREFIX + name for name in known) or "none"
            raise DataError("no such built-in dataset", where=path, hint=f"The built-in ones are: {names}.")
        return folder
    resolved = Path(path).expanduser()
    if not resolved.exists():
        hub = f", or hf:{path} for a dataset of the Hugging Face Hub" if path.count("/") == 1 else ""
        hint = f"Specify the folder that holds meta/ or videos/{hub}."
        raise DataError("the data folder does not exist", where=path, hint=hint)
    return resolved
