"""The run folder: recipe, lineage, metrics, checkpoints, previews and the adapter.

Metrics hold no times, so that a resumed run writes the same bytes as an uninterrupted one.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from worldtune.errors import UserError
from worldtune.files import atomic_file, make_folder, write_json
from worldtune.training.recipe import Recipe, dump_recipe


class RunFolder:
    """Paths of one run. `start` makes it, `resume` checks that it is the same run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.previews = path / "previews"
        self.adapter = path / "adapter"

    def start(self, recipe: Recipe) -> None:
        """Make the folder. Raises UserError when a run is already in it, that is one which has measured something."""
        make_folder(self.path)
        if self.metrics.exists():
            raise UserError(
                "there is already a run in this folder",
                where=str(self.path),
                mend="Go on with it by --resume, or choose another folder with --out.",
            )
        (self.path / "lineage.json").unlink(missing_ok=True)
        self._write_recipe(recipe)

    def clear(self) -> None:
        """Remove an earlier run. Raises UserError, and removes nothing, when the folder holds anything else."""
        if not self.path.exists():
            return
        if not self.path.is_dir() or (any(self.path.iterdir()) and not (self.path / "recipe.yaml").is_file()):
            raise UserError(
                "this is no run: it is not removed", where=str(self.path), mend="Choose another folder with --out."
            )
        shutil.rmtree(self.path)

    def resume(self, recipe: Recipe) -> None:
        """Raises UserError when the folder holds no run, or one of another recipe."""
        path = self.path / "recipe.yaml"
        if not path.exists():
            raise UserError("there is no run to resume", where=str(self.path), mend="Leave --resume out.")
        if path.read_text() != dump_recipe(recipe):
            raise UserError(
                "the recipe is not the one this run was started with",
                where=str(path),
                mend="Resume with the run's own recipe.yaml, or start a new run.",
            )

    def keep_lineage(self, lineage: dict[str, Any]) -> None:
        """Write what the run is made from, once. Raises UserError when a resumed run is made from something else."""
        path = self.path / "lineage.json"
        if not path.exists():
            write_json(path, lineage)
            return
        started = json.loads(path.read_text())
        changed = [part for part in ("base", "datasets") if started[part] != lineage[part]]
        if changed:
            raise UserError(
                f"the {' and '.join(changed)} changed since the run was started",
                where=str(path),
                mend="Restore what it was started with, or start a new run.",
            )

    def _write_recipe(self, recipe: Recipe) -> None:
        with atomic_file(self.path / "recipe.yaml") as partial:
            partial.write_text(dump_recipe(recipe))

    def log(self, **row: Any) -> None:
        with self.metrics.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def forget_after(self, step: int) -> None:
        """Drop metrics of steps after `step`, all of them when it is 0: they are about to be made again."""
        rows = [row for row in self.rows() if 0 < step >= row["step"]]
        with atomic_file(self.metrics) as partial:
            partial.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def rows(self) -> list[dict[str, Any]]:
        """Metrics so far; a last line that a crash cut short is left out."""
        if not self.metrics.exists():
            return []
        *whole, _cut_or_empty = self.metrics.read_text().split("\n")
        return [json.loads(line) for line in whole]

    def note_time(self, seconds: float) -> None:
        """Keep the duration of the last call beside the metrics, which must not depend on it."""
        write_json(self.path / "timing.json", {"train_seconds": round(seconds, 1)})

    def seconds(self) -> float | None:
        """Duration of the training call that finished the run; None when it has not finished."""
        path = self.path / "timing.json"
        return float(json.loads(path.read_text())["train_seconds"]) if path.exists() else None
