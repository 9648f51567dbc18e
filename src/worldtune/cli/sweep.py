"""`worldtune train --grid`: a run for every combination of some values, and one table and plot of all."""

import json
import re
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import Any, Protocol

from worldtune.cli.output import echo
from worldtune.core.strict_io import parse_yaml
from worldtune.errors import RecipeError


class TrainOne(Protocol):
    def __call__(self, more: list[str], folder: Path, *, again: bool) -> None: ...


def sweep(
    grid: Iterable[str],
    name: str,
    out: Path,
    check: Callable[[list[str]], object],
    train: TrainOne,
    *,
    elsewhere: bool,
    leads: bool,
) -> None:
    """Train, or hand over, each combination in its own folder under `out`; then compare them where they ran here.

    Of several processes only the one that `leads` compares and speaks.

    All are given to `check` before the first is trained. A combination that is finished already is not trained again,
    and one that was stopped goes on.
    """
    axes = [_axis(item) for item in grid]
    keys, runs = [key for key, _ in axes], {}
    for values in product(*(values for _, values in axes)):
        label = "-".join(_label(key, value) for key, value in zip(keys, values, strict=True))
        overrides = [f"{key}={json.dumps(value, default=str)}" for key, value in zip(keys, values, strict=True)]
        if label in runs:
            what = f"two combinations would have the folder {label}"
            raise RecipeError(what, where="--grid", mend="Train one of them by itself, with its own --out.")
        runs[label] = [*overrides, f"name={name}-{label}"]
        check(runs[label])
    for label, overrides in runs.items():
        if leads:
            echo(f"— {label}")
        train(overrides, out / label, again=True)
    if leads and not elsewhere:
        _compare(list(runs), out)


def _axis(item: str) -> tuple[str, list[Any]]:
    key, equals, text = item.partition("=")
    mend = "Write --grid adapter.rank=8,32 adapter.method=lora,dora."
    values = parse_yaml(f"[{text}]", f"--grid {item}", error=RecipeError, mend=mend) if equals else None
    if not key or not values:
        raise RecipeError(f"'{item}' is no key with values", where="--grid", mend=mend)
    return key, values


def _label(key: str, value: Any) -> str:
    """A key's last part and its value, as a folder's name may have them."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", f"{key.rsplit('.', 1)[-1]}{value}").strip("_")


def _compare(labels: list[str], out: Path) -> None:
    """Print a table of the runs, best first, and write it as `grid.json` with the curves of all as `loss.svg`."""
    from worldtune.evaluation.report.plots import write_loss_plot
    from worldtune.evaluation.runs import read_runs
    from worldtune.files import write_json

    runs = read_runs({label: out / label for label in labels})
    rows = [
        {
            "run": run.name,
            "held_out_loss": run.last("held_out_loss"),
            "base": run.first("held_out_loss"),
            "base_domain_loss": run.last("base_domain_loss"),
            "parameters": run.card.birth.trainable_parameters if run.card.birth else None,
            "step": run.card.step,
            "seconds": run.seconds,
        }
        for run in runs
    ]
    rows.sort(key=lambda row: (row["held_out_loss"] is None, row["held_out_loss"]))
    write_json(out / "grid.json", rows)
    write_loss_plot(out / "loss.svg", {run.name: run.rows for run in runs})
    width = max(len(label) for label in labels) + 2
    echo(f"{'run':<{width}}" + "".join(f"{name.replace('_', ' '):>18}" for name in list(rows[0])[1:]))
    for row in rows:
        echo(f"{row['run']:<{width}}" + "".join(f"{_cell(value):>18}" for value in list(row.values())[1:]))
    echo(f"curves: {out / 'loss.svg'}   next: worldtune evaluate {' '.join(str(out / label) for label in labels)}")


def _cell(value: Any) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
