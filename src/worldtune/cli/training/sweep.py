"""Print the results of `worldtune train --grid`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worldtune.cli.terminal.output import echo


def say_grid(rows: Sequence[dict[str, Any]], labels: Sequence[str], out: Path) -> None:
    """Print a table of the runs, best first, the file of the curves, and the next command."""
    width = max(len(label) for label in labels) + 2
    echo(f"{'run':<{width}}" + "".join(f"{name.replace('_', ' '):>18}" for name in list(rows[0])[1:]))
    for row in rows:
        echo(f"{row['run']:<{width}}" + "".join(f"{_cell(value):>18}" for value in list(row.values())[1:]))
    echo(f"curves: {out / 'loss.svg'}   next: worldtune evaluate {' '.join(str(out / label) for label in labels)}")


def _cell(value: Any) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
