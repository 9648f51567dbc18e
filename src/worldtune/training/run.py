"""The run folder: recipe, lineage, metrics, checkpoints, previews and the adapter.

Metrics hold no times, so that a resumed run writes the same bytes as an uninterrupted one.
"""

import json
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from worldtune.errors import UserError
from worldtune.files import LOCK, atomic_file, is_leftover, locked, make_folder, write_json
from worldtune.training.recipe import RESOLVED, Recipe, dump_recipe, load_recipe

OURS = {
    "adapter", "checkpoints", "previews", "ledger.parquet", "lineage.json", "loss.svg", "metrics.jsonl", "recipe.yaml",
    "timing.json", "report", LOCK,
}  # fmt: skip


class RunFolder:
    """Paths of one run. `start` makes it, `resume` checks that it is the same run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.previews = path / "previews"
        self.adapter = path / "adapter"

    def locked(self) -> AbstractContextManager[None]:
        """Nobody else trains in this folder meanwhile. Raises UserError when somebody does."""
        return locked(self.path)

    def start(self, recipe: Recipe) -> None:
        """Make the folder. Raises UserError when a run is already in it, that is one which has measured something."""
        make_folder(self.path)
        if self.metrics.exists() or self.checkpoints.exists() or self.adapter.exists():
            raise UserError(
                "there is already a run in this folder",
                where=str(self.path),
                mend="Go on with it by --resume, or choose another folder with --out.",
            )
        path = self.path / "recipe.yaml"
        if path.exists() and not path.read_text().startswith(RESOLVED):
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

    def keep_lineage(self, lineage: dict[str, Any]) -> dict[str, Any]:
        """What the run is made from, as written when it was started; other code or versions since are added to it.

        Raises UserError when a resumed run is made from another base or other datasets.
        """
        path = self.path / "lineage.json"
        if not path.exists():
            write_json(path, lineage)
            return lineage
        started: dict[str, Any] = json.loads(path.read_text())
        changed = [part for part in ("base", "datasets") if started[part] != lineage[part]]
        if changed:
            raise UserError(
                f"the {' and '.join(changed)} changed since the run was started",
                where=str(path),
                mend="Restore what it was started with, or start a new run.",
            )
        resumed = {part: lineage[part] for part in ("worldtune", "code", "versions", "machine")}
        known = [{part: started[part] for part in resumed}, *started.get("resumed_with", [])]
        if resumed not in known:
            started["resumed_with"] = [*started.get("resumed_with", []), resumed]
            write_json(path, started)
        return started

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

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add one session's duration to timing.json, which the metrics must not depend on."""
        path = self.path / "timing.json"
        before = json.loads(path.read_text())["sessions"] if path.exists() else []
        write_json(path, {"sessions": [*before, None]})
        started = time.monotonic()
        try:
            yield
        finally:
            write_json(path, {"sessions": [*before, round(time.monotonic() - started, 1)]})

    def seconds(self) -> float | None:
        """Duration of all training sessions together; None when one was killed, and so is not known."""
        path = self.path / "timing.json"
        sessions: list[float | None] = json.loads(path.read_text())["sessions"] if path.exists() else [None]
        known = [session for session in sessions if session is not None]
        return math.fsum(known) if len(known) == len(sessions) else None
