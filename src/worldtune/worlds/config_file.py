"""The config.json of a base's parts; whoever only looks at one does not wait for torch."""

import json
from pathlib import Path
from typing import Any

from worldtune.errors import BaseError


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises BaseError when it is missing or none."""
    if not path.is_file():
        raise BaseError(f"{path.name} cannot be read", where=str(path), mend="Copy the model again.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BaseError(f"{path.name} cannot be read", where=str(path), mend="Copy the model again.") from error
    if not isinstance(data, dict):
        raise BaseError(f"{path.name} is no JSON object", where=str(path), mend="Copy the model again.")
    return data
