"""The run folder: recipe, lineage, metrics, checkpoints, previews and the adapter.

Metrics hold no times, so that a resumed run writes the same bytes as an uninterrupted run.
"""

import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from worldtune.core.files import LOCK_FILE, atomic_file, is_leftover, lock_folder, make_folder, write_json
from worldtune.errors import UserError
from worldtune.training.recipe import RESOLVED, Recipe, dump_recipe, load_recipe, recipe_changes
from worldtune.training.run_files import metrics_line, read_lineage, read_metrics, read_sessions
from worldtune.training.tracking.package_versions import installed_packages

OnRow = Callable[[dict[str, Any]], None]
OURS = {
    "adapter", "checkpoints", "previews", "ledger.parquet", "lineage.json", "loss.png", "loss.svg", "metrics.jsonl",
    "environment.txt",
    "recipe.yaml", "timing.json", "report", "trackers.json", "tensorboard", "wandb", "trackio", "mlflow", LOCK_FILE,
}  # fmt: skip


class RunFolder:
    """The folder of one run. `start` creates it, `resume` checks that a recipe continues its run.

    Only the process with `is_main` writes. `on_row` is called with every row of metrics.
    """

    def __init__(self, path: Path, *, is_main: bool = True, on_row: OnRow = lambda row: None) -> None:
        self.path = path
        self.is_main = is_main
        self.on_row = on_row
        self.validations: list[dict[str, Any]] = []
        self.metrics = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.previews = path / "previews"
        self.adapter = path / "adapter"

    def lock(self) -> AbstractContextManager[None]:
        """Lock the folder against other training processes. Raise UserError if one uses it."""
        return lock_folder(self.path) if self.is_main else nullcontext()

    @property
    def has_started(self) -> bool:
        """Return whether a run has written metrics, a checkpoint or an adapter here."""
        return self.metrics.exists() or self.checkpoints.exists() or self.adapter.exists()

    def start(self, recipe: Recipe) -> None:
        """Create the folder and write the recipe. Raise UserError if the folder already holds a started run."""
        if not self.is_main:
            return
        make_folder(self.path)
        self.must_be_new()
        path = self.path / "recipe.yaml"
        if path.exists() and not (path.is_file() and path.read_text(errors="replace").startswith(RESOLVED)):
            raise UserError(
                "this recipe.yaml was not written by worldtune train, and is not replaced",
                where=str(path),
                hint="Choose another folder with --out.",
            )
        (self.path / "lineage.json").unlink(missing_ok=True)
        (self.path / "timing.json").unlink(missing_ok=True)
        with atomic_file(path) as partial:
            partial.write_text(dump_recipe(recipe))

    def clear(self, recipe: Recipe) -> None:
        """Remove an earlier run of a recipe with the same name and data.

        Raise UserError, and remove nothing, if the folder holds anything else.
        """
        if not self.path.exists():
            return
        found = {path.name for path in self.path.iterdir()} if self.path.is_dir() else {self.path.name}
        names = {name for name in found if not is_leftover(name)}
        earlier = load_recipe(self.path / "recipe.yaml", []) if "recipe.yaml" in names else recipe
        same = (earlier.name, earlier.data.path) == (recipe.name, recipe.data.path)
        if not same or names - OURS:
            raise UserError(
                f"the folder is not an earlier run of {recipe.name}, and is not removed",
                where=str(self.path),
                hint="Choose another folder with --out.",
            )
        shutil.rmtree(self.path)

    def must_be_new(self) -> None:
        """Raise UserError if the folder already holds a started run."""
        if self.is_main and self.has_started:
            raise UserError(
                "there is already a run in this folder",
                where=str(self.path),
                hint="Continue it with --resume, or choose another folder with --out.",
            )

    def must_exist(self) -> None:
        """Raise UserError if the folder holds no run."""
        if not (self.path / "recipe.yaml").exists():
            raise UserError("there is no run to resume", where=str(self.path), hint="Omit --resume.")

    def resume(self, recipe: Recipe, *, allow_change: bool = False) -> None:
        """Check that the folder's run can continue with `recipe`, whose `machine` and `track` may have changed.

        Raise UserError if the folder holds no run, or, unless `allow_change`, a run of another recipe; the error lists
        the changes.
        """
        self.must_exist()
        path = self.path / "recipe.yaml"
        changes = recipe_changes(load_recipe(path, []), recipe)
        if changes and not allow_change:
            raise UserError(
                f"the recipe has changed since this run was started: {'; '.join(changes)}",
                where=str(path),
                hint="Resume with the run's own recipe.yaml, start a new run, or add --allow-change.",
            )

    def check_useful(self, recipe: Recipe) -> None:
        """Raise UserError if `recipe` differs from that of the run, which is complete."""
        changes = recipe_changes(load_recipe(self.path / "recipe.yaml", []), recipe)
        if changes:
            what = f"training is already complete; these changes would have no effect: {'; '.join(changes)}"
            raise UserError(what, where=str(self.path), hint="Raise train.steps too, or start a new run with --out.")

    def save_recipe(self, recipe: Recipe) -> None:
        """Write the recipe that the run continues with."""
        path = self.path / "recipe.yaml"
        if self.is_main and path.read_text() != dump_recipe(recipe):
            with atomic_file(path) as partial:
                partial.write_text(dump_recipe(recipe))

    def save_lineage(self, lineage: dict[str, Any], *, allow_change: bool = False) -> dict[str, Any]:
        """Write the lineage of a new run, or add that of a resumed one; return the run's lineage.

        Raise UserError if a resumed run has another base, or, unless `allow_change`, other datasets or another recipe.
        """
        path = self.path / "lineage.json"
        if not path.exists():
            if self.is_main:
                write_json(path, lineage)
                with atomic_file(self.path / "environment.txt") as partial:
                    partial.write_text(installed_packages())
            return lineage
        started = self.check_lineage(lineage, allow_change=allow_change)
        parts = (
            "recipe", "datasets", "base", "worldtune", "code", "diff", "environment", "versions", "machine",
        )  # fmt: skip
        resumed = {part: lineage.get(part) for part in parts}
        sessions = (started, *started.get("resumed_with", []))
        if resumed not in [{part: session.get(part) for part in parts} for session in sessions]:
            started["resumed_with"] = [*started.get("resumed_with", []), resumed]
            if self.is_main:
                write_json(path, started)
        return started

    def check_lineage(self, lineage: dict[str, Any], *, allow_change: bool = False) -> dict[str, Any]:
        """Return the lineage that the run was started with. Raise UserError as `save_lineage` does."""
        path = self.path / "lineage.json"
        if not path.exists():
            return lineage
        started = read_lineage(path)
        newest = [started, *started.get("resumed_with", [])][-1]
        fixed = ("base",) if allow_change else ("base", "datasets", "recipe")
        changed = [part for part in fixed if newest[part] != lineage[part]]
        if changed:
            what = "; ".join(f"{part} {_short(newest[part])} → {_short(lineage[part])}" for part in changed)
            raise UserError(
                f"the {' and '.join(changed)} changed since the run was started: {what}",
                where=str(path),
                hint="Undo the change, start a new run, or add --allow-change (which does not allow another base).",
            )
        return started

    def log(self, **row: Any) -> None:
        """Append a row of metrics; skip a row that has only a step."""
        if "held_out_loss" in row:
            self.validations.append(row)
        if self.is_main and len(row) > 1:
            with self.metrics.open("a") as file:
                file.write(metrics_line(row))
            self.on_row(row)

    def truncate_after(self, step: int) -> None:
        """Drop the metrics after `step`, all of them if it is 0: the run computes them again."""
        rows = self.rows_until(step)
        self.validations = [row for row in rows if "held_out_loss" in row]
        if self.is_main:
            with atomic_file(self.metrics) as partial:
                partial.write_text("".join(map(metrics_line, rows)))

    def rows(self) -> list[dict[str, Any]]:
        """Return the metrics so far, without a last line that a crash cut short."""
        if not self.metrics.exists() and not self.metrics.is_symlink():  # a broken link is an error
            return []
        return read_metrics(self.metrics)

    def rows_until(self, step: int) -> list[dict[str, Any]]:
        """Return the metrics up to `step`, an empty list if it is 0.

        Raise UserError if the metrics of a step are missing, because they decide which step is the best.
        """
        rows = [row for row in self.rows() if 0 < step >= row["step"]]
        self.check_metrics_present(rows, step)
        return rows

    def check_metrics_present(self, rows: list[dict[str, Any]], step: int) -> None:
        """Raise UserError unless `rows` has the metrics of every step up to `step`, which the run reached."""
        if missing := set(range(1, step + 1)).difference(row["step"] for row in rows if "loss" in row):
            what = f"the metrics of step {min(missing)} are missing, but the run reached step {step}"
            hint = "Restore the file from a copy, or start a new run."
            raise UserError(what, where=str(self.metrics), hint=hint)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add the duration of the block, one session, to timing.json. Metrics hold no times."""
        if not self.is_main:
            yield
            return
        path = self.path / "timing.json"
        before = read_sessions(path) if path.exists() else []
        write_json(path, {"sessions": [*before, None]})
        started = time.monotonic()
        try:
            yield
        finally:
            write_json(path, {"sessions": [*before, round(time.monotonic() - started, 1)]})

    def seconds(self) -> float | None:
        """Return the seconds of all training sessions, None if one was killed and so has no known duration."""
        path = self.path / "timing.json"
        sessions = read_sessions(path) if path.exists() else [None]
        known = [session for session in sessions if session is not None]
        return math.fsum(known) if len(known) == len(sessions) else None


def _short(part: dict[str, Any]) -> str:
    return ", ".join(f"{name} {str(value)[:12]}" for name, value in part.items() if value is not None)
