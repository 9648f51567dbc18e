"""Read the files of a run folder, and check them: metrics, lineage, durations and trackers."""

import json
from math import isfinite
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worldtune.core.strict_io import MAX_JSON_BYTES, parse_json, read_bytes, read_json
from worldtune.errors import UserError

HINT = "Restore the file from a copy, or start a new run."


class _Known(BaseModel):
    """The values that the program relies on; a file may hold others too."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class _Row(_Known):
    step: int = Field(ge=0)
    loss: float = 0
    lr: float = 0
    grad_norm: float = 0
    held_out_loss: float | None = None
    base_domain_loss: float | None = None
    averages: dict[str, float | None] = Field(default_factory=dict)


class _Origin(_Known):
    base: dict[str, Any]
    datasets: dict[str, Any]
    recipe: str


class _Lineage(_Origin):
    resumed_with: list[_Origin] = Field(default_factory=list)


class _Timing(_Known):
    sessions: list[float | None]


class _Trackers(_Known):
    ids: dict[str, str]
    told: dict[str, int]


def metrics_line(row: dict[str, Any]) -> str:
    """Return a row as a line of metrics.jsonl; NaN and infinity, which JSON does not have, become null."""
    return json.dumps(_without_nan(row)) + "\n"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not isfinite(value) else value


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a metrics.jsonl, of a live run too; drop an incomplete last line.

    Raise UserError if it is damaged.
    """
    *whole, _incomplete_or_empty = read_bytes(path, MAX_JSON_BYTES, UserError, HINT, grows=True).split(b"\n")
    lines = [(line, f"{path}, line {number}") for number, line in enumerate(whole, 1)]
    return [_checked(_Row, parse_json(line, where, error=UserError, hint=HINT), where) for line, where in lines]


def read_lineage(path: Path) -> dict[str, Any]:
    """Return the content of a run's lineage.json. Raise UserError if it is damaged."""
    return _read(_Lineage, path)


def read_sessions(path: Path) -> list[float | None]:
    """Return the seconds of each session in a timing.json, None for a killed one. Raise UserError if damaged."""
    sessions: list[float | None] = _read(_Timing, path)["sessions"]
    return sessions


def read_trackers(path: Path) -> dict[str, Any]:
    """Return the content of a run's trackers.json. Raise UserError if it is damaged."""
    return _read(_Trackers, path)


def _read(kind: type[_Known], path: Path) -> dict[str, Any]:
    return _checked(kind, read_json(path, error=UserError, hint=HINT), str(path))


def _checked(kind: type[_Known], value: Any, where: str) -> dict[str, Any]:
    try:
        kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        what = f"{key}: {first['msg'].lower()}" if key else first["msg"].lower()
        raise UserError(f"the file is damaged: {what}", where=where, hint=HINT) from None
    found: dict[str, Any] = value
    return found
