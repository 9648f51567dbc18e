"""Finished training runs: read them for an evaluation, and extract their losses and lineage for the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from worldtune.adapters.card import AdapterCard, read_card
from worldtune.core.files import digest_json
from worldtune.errors import UserError
from worldtune.evaluation.results import CONTROLS, REFERENCE
from worldtune.training.recipe import Recipe, load_recipe
from worldtune.training.run_folder import RunFolder
from worldtune.training.validation.validation import exported_losses


@dataclass(frozen=True)
class TrainedRun:
    """A finished run under its display name."""

    name: str
    folder: RunFolder
    recipe: Recipe
    card: AdapterCard
    rows: list[dict[str, Any]]
    seconds: float | None

    def first(self, metric: str) -> float | None:
        """Return the metric before training; None if it was not measured."""
        return self._values(metric)[0] if self._values(metric) else None

    def last(self, metric: str) -> float | None:
        """Return the metric of the exported weights. For EMA weights only the held-out loss is known."""
        if metric == "held_out_loss":
            return exported_losses(self.rows, self.card.step, self.card.average)[1]
        values = [row[metric] for row in self.rows if metric in row and row["step"] == self.card.step]
        return values[-1] if values and not self.card.average else None

    def ratio(self, metric: str) -> float | None:
        """Return the last value over the first."""
        first, last = self.first(metric), self.last(metric)
        return last / first if first and last is not None else None

    def _values(self, metric: str) -> list[float]:
        return [row[metric] for row in self.rows if metric in row]


def read_runs(folders: Mapping[str, Path], *, one_dataset: bool = True) -> list[TrainedRun]:
    """Return the runs of folders given by display name.

    Raise UserError if a run is unfinished or has a reserved name, if two runs have different bases, or if two runs of
    one dataset (with `one_dataset`: any two) were validated in different ways.
    """
    if reserved := {"base", REFERENCE, *CONTROLS} & set(folders):
        name = reserved.pop()
        raise UserError(f"a run cannot be called {name!r}", where=str(folders[name]), hint="Rename its folder.")
    runs = [_read_run(name, RunFolder(path)) for name, path in folders.items()]
    for run, first in combinations(reversed(runs), 2):
        if run.card.base_digest != first.card.base_digest:
            what = f"{run.name} and {first.name} have different bases"
            raise UserError(what, where=str(run.folder.path), hint="Evaluate them separately.")
        if (one_dataset or have_same_data(run, first)) and _validation_setup(run) != _validation_setup(first):
            raise UserError(
                f"{run.name} and {first.name} were not validated on the same clips in the same way",
                where=str(run.folder.path),
                hint="Evaluate them separately: their held-out clips or losses cannot be compared.",
            )
    return runs


def have_same_data(first: TrainedRun, second: TrainedRun) -> bool:
    """Return whether both runs were trained on the same dataset with the same split."""
    return bool(first.card.lineage["datasets"]["data"] == second.card.lineage["datasets"]["data"])


def check_data_unchanged(runs: Sequence[TrainedRun], digest: str) -> None:
    """Raise UserError unless the runs were trained on the dataset with this digest: its split may have changed."""
    for run in runs:
        if run.card.lineage["datasets"]["data"] != digest:
            raise UserError(
                f"the dataset {run.recipe.data.path} has changed since {run.name} was trained: its held-out clips may "
                "include training clips",
                where=str(run.folder.path),
                hint="Restore the dataset, or train again.",
            )


def _validation_setup(run: TrainedRun) -> tuple[Any, ...]:
    """Return everything that a run's losses and held-out clips depend on, except the adapter."""
    datasets = run.card.lineage["datasets"]
    check = run.recipe.check
    measured = check.modes, check.sigmas, check.clips, run.recipe.train.shift
    return datasets["data"], datasets.get("retention"), *measured


def load_run_recipe(folder: Path) -> Recipe:
    """Return the recipe of a run folder. Raise UserError if the folder is not a run."""
    path = folder / "recipe.yaml"
    if not path.is_file():
        raise UserError("not a run folder", where=str(folder), hint="Specify a folder that worldtune train wrote.")
    return load_recipe(path, [])


def _read_run(name: str, folder: RunFolder) -> TrainedRun:
    recipe = load_run_recipe(folder.path)
    if not (folder.adapter / "adapter.json").is_file():
        raise UserError(
            "the run has no adapter yet",
            where=str(folder.path),
            hint="Finish its training (worldtune train --resume).",
        )
    card = read_card(folder.adapter)
    datasets = card.lineage.get("datasets")
    if not isinstance(datasets, dict) or "data" not in datasets or card.step is None:
        what = "the adapter's card lacks the dataset or the number of steps"
        hint = "Specify a run folder that `worldtune train` wrote."
        raise UserError(what, where=str(folder.adapter), hint=hint)
    rows = folder.rows()
    folder.check_metrics_present(rows, card.step)
    return TrainedRun(name, folder, recipe, card, rows, folder.seconds())


def collect_lineage(cards: Mapping[str, AdapterCard]) -> dict[str, Any]:
    """Return the method, preflight check, lineage and digests of each adapter, for the report."""
    return {
        name: {
            "method": f"{card.adapter.method}, rank {card.adapter.rank}",
            "preflight check": card.preflight and card.preflight.model_dump(mode="json"),
            **card.lineage,
            "weights": card.weights_digest,
            "base_digest": card.base_digest,
            "card": digest_json(card.model_dump(mode="json")),
        }
        for name, card in cards.items()
    }


def forgetting_rows(runs: Sequence[TrainedRun]) -> list[dict[str, Any]]:
    """Return the loss on clips of the base domain, before and after each run."""
    return [
        {
            "run": run.name,
            "base-domain loss before": run.first("base_domain_loss"),
            "after": run.last("base_domain_loss"),
            "times": run.ratio("base_domain_loss"),
        }
        for run in runs
        if run.first("base_domain_loss") is not None
    ]
