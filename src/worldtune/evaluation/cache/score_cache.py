"""The cache of an evaluation: JSON files named by the digest of everything that a value depends on."""

from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from worldtune.core.code_digest import code_digest
from worldtune.core.files import digest_json, write_json
from worldtune.core.strict_io import read_json
from worldtune.errors import DataError, first_line
from worldtune.evaluation.scores import Scores

Value = TypeVar("Value")
LIBRARIES = ("opencv-python-headless", "numpy", "torch", "transformers", "av")
BASE_LOADER = "worldtune.models.load"
CLIP_READER = "worldtune.data.dataset"
"""The modules that load base models and read clips. They are part of the keys of values made from such objects."""


@cache
def code_key(*modules: str) -> str:
    """Return a digest of the code that made a cached value, as part of its key.

    It covers the source files of `modules`, of all that they import, and the versions of the libraries.
    """
    return digest_json([{name: version(name) for name in LIBRARIES}, code_digest(*modules)])


def cache_path(folder: Path, key: Any, ending: str) -> Path:
    """Return the path of the file for a key, whether or not it exists; `key` is a JSON value."""
    name = digest_json(key)
    return folder / name[:2] / f"{name}{ending}"


class JsonCache(Generic[Value]):
    """A cache of dataclass values under `folder`; `what` names the values in errors about damaged files."""

    def __init__(self, folder: Path, kind: type[Value], what: str) -> None:
        self.folder = folder
        self._what = what
        self._adapter = TypeAdapter(kind)

    def get(self, key: Any) -> Value | None:
        """Return the cached value, or None. Raise DataError if the file is damaged."""
        path, hint = cache_path(self.folder, key, ".json"), "Delete the file: it will be computed again."
        if not path.exists():
            return None
        found = read_json(path, hint=hint)
        try:
            return self._adapter.validate_python(found)
        except ValidationError as error:
            what = f"{self._what} cannot be read: {first_line(error)}"
            raise DataError(what, where=str(path), hint=hint) from error

    def put(self, key: Any, value: Value) -> None:
        """Cache a value. Raise pydantic's ValidationError if `get` would reject it, for example for NaN."""
        checked = self._adapter.validate_python(asdict(value))  # type: ignore[call-overload]
        write_json(cache_path(self.folder, key, ".json"), self._adapter.dump_python(checked))


ScoreCache = JsonCache[Scores]


def open_score_cache(folder: Path) -> ScoreCache:
    """Return the cache of video scores in `folder`."""
    return JsonCache(folder, Scores, "cached scores")


def get_or_compute(cache: JsonCache[Value] | None, key: Any, compute: Callable[[], Value]) -> Value:
    """Return the cached value of the key. Without one, compute and cache it."""
    found = cache.get(key) if cache is not None else None
    if found is None:
        found = compute()
        if cache is not None:
            cache.put(key, found)
    return found
