"""Read the config.json of a base's parts, without importing torch."""

from pathlib import Path
from typing import Any

from worldtune.core.strict_io import read_json_object
from worldtune.errors import BaseError


def read_config(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raise BaseError if the file is missing or holds anything else."""
    return read_json_object(path, error=BaseError, hint="Copy the model again.")
