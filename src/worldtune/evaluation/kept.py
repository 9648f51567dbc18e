"""What an evaluation keeps: files by the digest of all that they depend on, so that nothing is found out twice."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from worldtune.core.strict_io import read_json
from worldtune.errors import DataError, first_line
from worldtune.evaluation.comparison import Scores
from worldtune.files import digest_json, write_json

Value = TypeVar("Value")


def place_of(folder: Path, key: Any, ending: str) -> Path:
    """Where the file of a key is, or would be; `key` is a JSON value."""
    name = digest_json(key)
    return folder / name[:2] / f"{name}{ending}"


class Kept(Generic[Value]):
    """Values of a dataclass under `folder`; `what` they are is told of a file that is damaged."""

    def __init__(self, folder: Path, kind: type[Value], what: str) -> None:
        self.folder = folder
        self._what = what
        self._adapter = TypeAdapter(kind)

    def get(self, key: Any) -> Value | None:
        """What was put, None when nothing was. Raises DataError when the file is damaged."""
        path, mend = place_of(self.folder, key, ".json"), "Delete the file: it is made again."
        if not path.exists():
            return None
        found = read_json(path, mend=mend)
        try:
            return self._adapter.validate_python(found)
        except ValidationError as error:
            what = f"{self._what} cannot be read: {first_line(error)}"
            raise DataError(what, where=str(path), mend=mend) from error

    def put(self, key: Any, value: Value) -> None:
        """Raises pydantic's ValidationError for what `get` would refuse, as numbers that are none."""
        checked = self._adapter.validate_python(asdict(value))  # type: ignore[call-overload]
        write_json(place_of(self.folder, key, ".json"), self._adapter.dump_python(checked))


KeptScores = Kept[Scores]


def kept_scores(folder: Path) -> KeptScores:
    """The scores of videos."""
    return Kept(folder, Scores, "kept scores")


def known_or(kept: Kept[Value] | None, key: Any, find: Callable[[], Value]) -> Value:
    """What is kept under the key, or else what `find` finds, which is kept from now on."""
    found = kept.get(key) if kept is not None else None
    if found is None:
        found = find()
        if kept is not None:
            kept.put(key, found)
    return found
