"""A grid of runs: every combination of some values of a recipe, and the finished runs compared."""

import json
import re
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from worldtune.core.files import write_json
from worldtune.core.strict_io import parse_yaml
from worldtune.errors import RecipeError
from worldtune.evaluation.cases.runs import read_runs
from worldtune.evaluation.report.plots import write_loss_plot

HINT = "Write --grid adapter.rank=8,32 adapter.method=lora,dora."


def grid_of(items: Iterable[str], name: str) -> dict[str, list[str]]:
    """Return the recipe overrides of each combination by label. The label is its folder; its run is `name`-label.

    Raise RecipeError if an item is not key=value,value or two combinations get the same label.
    """
    axes = [_axis(item) for item in items]
    keys, runs = [key for key, _ in axes], dict[str, list[str]]()
    for values in product(*(values for _, values in axes)):
        label = "-".join(_label(key, value) for key, value in zip(keys, values, strict=True))
        overrides = [f"{key}={json.dumps(value, default=str)}" for key, value in zip(keys, values, strict=True)]
        if label in runs:
            what = f"two combinations would share the folder {label}"
            raise RecipeError(what, where="--grid", hint="Train one of them alone, with its own --out.")
        runs[label] = [*overrides, f"name={name}-{label}"]
    return runs


def compare_grid(labels: Sequence[str], out: Path) -> list[dict[str, Any]]:
    """Return a row for each run of the grid in `out`, best first; write them to grid.json, their curves to loss.svg."""
    runs = read_runs({label: out / label for label in labels})
    rows = [
        {
            "run": run.name,
            "held_out_loss": run.last("held_out_loss"),
            "base": run.first("held_out_loss"),
            "base_domain_loss": run.last("base_domain_loss"),
            "parameters": run.card.preflight.trainable_parameters if run.card.preflight else None,
            "step": run.card.step,
            "seconds": run.seconds,
        }
        for run in runs
    ]
    rows.sort(key=lambda row: (row["held_out_loss"] is None, row["held_out_loss"]))
    write_json(out / "grid.json", rows)
    write_loss_plot(out / "loss.svg", {run.name: run.rows for run in runs})
    return rows


def _axis(item: str) -> tuple[str, list[Any]]:
    key, equals, text = item.partition("=")
    values = parse_yaml(f"[{text}]", f"--grid {item}", error=RecipeError, hint=HINT) if equals else None
    if not key or not values:
        raise RecipeError(f"'{item}' is not key=value,value", where="--grid", hint=HINT)
    return key, values


def _label(key: str, value: Any) -> str:
    """Return the last part of a key and its value, with only characters that are safe in a folder name."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", f"{key.rsplit('.', 1)[-1]}{value}").strip("_")
