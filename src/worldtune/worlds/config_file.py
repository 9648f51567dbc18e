"""The config.json of a base's parts; whoever only looks at one does not wait for torch."""

from pathlib import Path
from typing import Any

from worldtune.core import strict_io
from worldtune.errors import BaseError


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises BaseError when it is missing or none."""
    data = strict_io.read_json(path, error=BaseError, mend="Copy the model again.")
    if not isinstance(data, dict):
        raise BaseError(f"{path.name} is no JSON object", where=str(path), mend="Copy the model again.")
    return data
