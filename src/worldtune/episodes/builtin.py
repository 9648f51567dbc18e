"""Datasets that ship inside the package, named `builtin:NAME`."""

from importlib.resources import files
from pathlib import Path

from worldtune.errors import DataError

PREFIX = "builtin:"


def resolve(path: str) -> Path:
    """The folder or file that a data path names. Raises DataError when there is none, or no such built-in."""
    if path.startswith(PREFIX):
        shipped = Path(str(files("worldtune"))) / "data"
        folder = shipped / path.removeprefix(PREFIX)
        known = sorted(info.parts[-3] for info in shipped.glob("*/meta/info.json"))
        if folder.name not in known:
            names = ", ".join(PREFIX + name for name in known) or "none"
            raise DataError("no such built-in dataset", where=path, mend=f"The built-in ones are: {names}.")
        return folder
    place = Path(path).expanduser()
    if not place.exists():
        hub = f", or hf:{path} for the Hugging Face Hub's" if path.count("/") == 1 else ""
        mend = f"Name the folder that holds meta/ or videos/{hub}."
        raise DataError("the data folder does not exist", where=path, mend=mend)
    return place
