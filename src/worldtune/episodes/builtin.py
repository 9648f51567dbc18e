"""Datasets that ship inside the package, named `builtin:NAME`."""

from importlib.resources import files
from pathlib import Path

from worldtune.errors import DataError

PREFIX = "builtin:"


def resolve(path: str) -> Path:
    """The folder that a data path names. Raises DataError when there is no such folder or built-in."""
    if path.startswith(PREFIX):
        shipped = Path(str(files("worldtune"))) / "data"
        folder = shipped / path.removeprefix(PREFIX)
        known = sorted(info.parts[-3] for info in shipped.glob("*/meta/info.json"))
        if folder.name not in known:
            names = ", ".join(PREFIX + name for name in known) or "none"
            raise DataError("no such built-in dataset", where=path, mend=f"The built-in ones are: {names}.")
        return folder
    folder = Path(path).expanduser()
    if not folder.is_dir():
        what = "this is a file, not a folder" if folder.exists() else "the data folder does not exist"
        raise DataError(what, where=path, mend="Name the folder that holds meta/ or videos/.")
    return folder
