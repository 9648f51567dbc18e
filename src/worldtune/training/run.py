"""The run folder: recipe, lineage, metrics, checkpoints, previews and the adapter.

Metrics hold no times, so that a resumed run writes the same bytes as an uninterrupted one.
"""

import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from worldtune.errors import UserError
from worldtune.files import LOCK, atomic_file, is_leftover, locked, make_folder, write_json
from worldtune.training.environment import installed
from worldtune.training.recipe import RESOLVED, Recipe, dump_recipe, load_recipe, recipe_changes
from worldtune.training.run_files import metrics_line, read_lineage, read_metrics, read_sessions

OnRow = Callable[[dict[str, Any]], None]
OURS = {
    "adapter", "checkpoints", "previews", "ledger.parquet", "lineage.json", "loss.png", "loss.svg", "metrics.jsonl",
    "environment.txt",
    "recipe.yaml", "timing.json", "report", "trackers.json", "tensorboard", "wandb", "trackio", "mlflow", LOCK,
}  # fmt: skip


class RunFolder:
    """Paths of one run. `start` makes it, `resume` checks that it is the same run.

    Of several processes only the one that `leads` writes. `on_row` is told every row of metrics.
    """

    def __init__(self, path: Path, *, leads: bool = True, on_row: OnRow = lambda row: None) -> None:
        self.path = path
        self.leads = leads
        self.on_row = on_row
        self.validations: list[dict[str, Any]] = []
        self.metrics = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.previews = path / "previews"
        self.adapter = path / "adapter"

    def locked(self) -> AbstractContextManager[None]:
        """Nobody else trains in this folder meanwhile. Raises UserError when somebody does."""
        return locked(self.path) if self.leads else nullcontext()

    @property
    def begun(self) -> bool:
        """Has a run measured something here?"""
        return self.metrics.exists() or self.checkpoints.exists() or self.adapter.exists()

    def start(self, recipe: Recipe) -> None:
        """Make the folder. Raises UserError when a run is already in it, that is one which has measured something."""
        if not self.leads:
            return
        make_folder(self.path)
        self.must_be_new()
        path = self.path / "recipe.yaml"
        if path.exists() and not (path.is_file() and path.read_text(errors="replace").startswith(RESOLVED)):
            raise UserError(
                "this recipe.yaml was not written by worldtune train: it is not replaced",
                where=str(path),
                mend="Choose another folder with --out.",
            )
        (self.path / "lineage.json").unlink(missing_ok=True)
        (self.path / "timing.json").unlink(missing_ok=True)
        with atomic_file(path) as partial:
            partial.write_text(dump_recipe(recipe))

    def clear(self, recipe: Recipe) -> None:
        """Remove an earlier run of a recipe of that name and data.

        Raises UserError, and removes nothing, when the folder holds anything else.
        """
        if not self.path.exists():
            return
        found = {path.name for path in self.path.iterdir()} if self.path.is_dir() else {self.path.name}
        names = {name for name in found if not is_leftover(name)}
        earlier = load_recipe(self.path / "recipe.yaml", []) if "recipe.yaml" in names else recipe
        same = (earlier.name, earlier.data.path) == (recipe.name, recipe.data.path)
        if not same or names - OURS:
            raise UserError(
                f"not an earlier run of {recipe.name}: it is not removed",
                where=str(self.path),
                mend="Choose another folder with --out.",
            )
        shutil.rmtree(self.path)

    def must_be_new(self) -> None:
        """Raises UserError when a run has measured something in the folder."""
        if self.leads and self.begun:
            raise UserError(
                "there is already a run in this folder",
                where=str(self.path),
                mend="Go on with it by --resume, or choose another folder with --out.",
            )

    def must_exist(self) -> None:
        """Raises UserError when no run was started in the folder."""
        if not (self.path / "recipe.yaml").exists():
            raise UserError("there is no run to resume", where=str(self.path), mend="Leave --resume out.")

    def resume(self, recipe: Recipe, *, allow_change: bool = False) -> None:
        """Check that the folder's run can go on with `recipe`, whose `machine` and `track` may be others now.

        Raises UserError when the folder holds no run, or, unless `allow_change`, one of another recipe: it says what
        changed.
        """
        self.must_exist()
        path = self.path / "recipe.yaml"
        changes = recipe_changes(load_recipe(path, []), recipe)
        if changes and not allow_change:
            raise UserError(
                f"the recipe is not the one this run was started with: {'; '.join(changes)}",
                where=str(path),
                mend="Resume with the run's own recipe.yaml, start a new run, or add --allow-change.",
            )

    def refuse_useless(self, recipe: Recipe) -> None:
        """Raises UserError when `recipe` is another than the run's, which has nothing left to train with it."""
        changes = recipe_changes(load_recipe(self.path / "recipe.yaml", []), recipe)
        if changes:
            what = f"nothing is left to train, so nothing would come of {'; '.join(changes)}"
            raise UserError(what, where=str(self.path), mend="Raise train.steps too, or start a new run with --out.")

    def keep_recipe(self, recipe: Recipe) -> None:
        """Write the recipe that the run goes on with."""
        path = self.path / "recipe.yaml"
        if self.leads and path.read_text() != dump_recipe(recipe):
            with atomic_file(path) as partial:
                partial.write_text(dump_recipe(recipe))

    def keep_lineage(self, lineage: dict[str, Any], *, allow_change: bool = False) -> dict[str, Any]:
        """What the run is made from, as written when it was started; what it was resumed with since is added to it.

        Raises UserError when a resumed run is made from another base, or, unless `allow_change`, other datasets or by
        another recipe.
        """
        path = self.path / "lineage.json"
        if not path.exists():
            if self.leads:
                write_json(path, lineage)
                with atomic_file(self.path / "environment.txt") as partial:
                    partial.write_text(installed())
            return lineage
        started = self.same_lineage(lineage, allow_change=allow_change)
        parts = (
            "recipe", "datasets", "base", "worldtune", "code", "diff", "environment", "versions", "machine",
        )  # fmt: skip
        resumed = {part: lineage.get(part) for part in parts}
        known = [{part: each.get(part) for part in parts} for each in (started, *started.get("resumed_with", []))]
        if resumed not in known:
            started["resumed_with"] = [*started.get("resumed_with", []), resumed]
            if self.leads:
                write_json(path, started)
        return started

    def same_lineage(self, lineage: dict[str, Any], *, allow_change: bool = False) -> dict[str, Any]:
        """What the run was started with. Raises UserError as `keep_lineage` does."""
        path = self.path / "lineage.json"
        if not path.exists():
            return lineage
        started = read_lineage(path)
        newest = [started, *started.get("resumed_with", [])][-1]
        held = ("base",) if allow_change else ("base", "datasets", "recipe")
        changed = [part for part in held if newest[part] != lineage[part]]
        if changed:
            what = "; ".join(f"{part} {_short(newest[part])} → {_short(lineage[part])}" for part in changed)
            raise UserError(
                f"the {' and '.join(changed)} changed since the run was started: {what}",
                where=str(path),
                mend="Restore what it was started with, start a new run, or add --allow-change (not for another base).",
            )
        return started

    def log(self, **row: Any) -> None:
        """Add a row of metrics; a row without any but its step is none."""
        if "held_out_loss" in row:
            self.validations.append(row)
        if self.leads and len(row) > 1:
            with self.metrics.open("a") as file:
                file.write(metrics_line(row))
            self.on_row(row)

    def forget_after(self, step: int) -> None:
        """Drop metrics of steps after `step`, all of them when it is 0: they are about to be made again."""
        rows = self.rows_until(step)
        self.validations = [row for row in rows if "held_out_loss" in row]
        if self.leads:
            with atomic_file(self.metrics) as partial:
                partial.write_text("".join(map(metrics_line, rows)))

    def rows(self) -> list[dict[str, Any]]:
        """Metrics so far; a last line that a crash cut short is left out."""
        if not self.metrics.exists() and not self.metrics.is_symlink():  # a link to nothing is damage, and no beginning
            return []
        return read_metrics(self.metrics)

    def rows_until(self, step: int) -> list[dict[str, Any]]:
        """Metrics of a run that goes on after `step` steps, none if that is 0.

        Raises UserError when those of a step are not there: which step is the best follows from them.
        """
        rows = [row for row in self.rows() if 0 < step >= row["step"]]
        if lost := set(range(1, step + 1)).difference(row["step"] for row in rows if "loss" in row):
            what = f"the metrics of step {min(lost)} are missing, and there is a checkpoint of step {step}"
            mend = "Restore the file from a copy, or start a new run."
            raise UserError(what, where=str(self.metrics), mend=mend)
        return rows

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add one session's duration to timing.json, which the metrics must not depend on."""
        if not self.leads:
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
        """Duration of all training sessions together; None when one was killed, and so is not known."""
        path = self.path / "timing.json"
        sessions = read_sessions(path) if path.exists() else [None]
        known = [session for session in sessions if session is not None]
        return math.fsum(known) if len(known) == len(sessions) else None


def _short(part: dict[str, Any]) -> str:
    return ", ".join(f"{name} {str(value)[:12]}" for name, value in part.items() if value is not None)
