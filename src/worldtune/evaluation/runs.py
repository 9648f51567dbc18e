"""Finished training runs as an evaluation sees them, and what their report is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from worldtune.adapters.card import AdapterCard, read_card
from worldtune.errors import UserError
from worldtune.evaluation.comparison import FROZEN, NEAREST, REFERENCE
from worldtune.files import digest_json
from worldtune.training.recipe import Recipe, load_recipe
from worldtune.training.run import RunFolder
from worldtune.training.validation import exported_losses


@dataclass(frozen=True)
class TrainedRun:
    """One run under the name its report shows."""

    name: str
    folder: RunFolder
    recipe: Recipe
    card: AdapterCard
    rows: list[dict[str, Any]]
    seconds: float | None

    def first(self, metric: str) -> float | None:
        """The metric before training; None where it was not measured."""
        return self._values(metric)[0] if self._values(metric) else None

    def last(self, metric: str) -> float | None:
        """The metric of the weights that were exported; of an average, its held-out loss alone is known."""
        if metric == "held_out_loss":
            return exported_losses(self.rows, self.card.step, self.card.average)[1]
        values = [row[metric] for row in self.rows if metric in row and row["step"] == self.card.step]
        return values[-1] if values and not self.card.average else None

    def ratio(self, metric: str) -> float | None:
        """Last over first."""
        first, last = self.first(metric), self.last(metric)
        return last / first if first and last is not None else None

    def _values(self, metric: str) -> list[float]:
        return [row[metric] for row in self.rows if metric in row]


def read_runs(folders: Mapping[str, Path], *, one_dataset: bool = True) -> list[TrainedRun]:
    """The runs of some folders, by the name to show.

    Raises UserError when a run is not finished, has the name of something else in a report, the runs are not of one
    base (and `one_dataset`), or those of one dataset were measured in different ways.
    """
    if taken := {"base", FROZEN, NEAREST, REFERENCE} & set(folders):
        name = taken.pop()
        raise UserError(f"a run cannot be called {name!r} here", where=str(folders[name]), mend="Rename its folder.")
    runs = [_read_run(name, RunFolder(path)) for name, path in folders.items()]
    for run, first in combinations(reversed(runs), 2):
        if run.card.base_digest != first.card.base_digest:
            what = f"{run.name} and {first.name} are not of the same base"
            raise UserError(what, where=str(run.folder.path), mend="Evaluate them one by one.")
        if (one_dataset or same_data(run, first)) and _judged_on(run) != _judged_on(first):
            raise UserError(
                f"{run.name} and {first.name} were not measured on the same clips in the same way",
                where=str(run.folder.path),
                mend="Evaluate them one by one: their held-out clips or losses cannot be compared.",
            )
    return runs


def same_data(run: TrainedRun, other: TrainedRun) -> bool:
    """Were both trained on the same dataset, split in the same way?"""
    mine, theirs = (each.card.lineage["datasets"]["data"] for each in (run, other))
    return bool(mine == theirs)


def refuse_changed_data(runs: Sequence[TrainedRun], digest: str) -> None:
    """Raises UserError unless `digest` is that of the dataset the runs were trained on: its split may be another."""
    for run in runs:
        if run.card.lineage["datasets"]["data"] != digest:
            raise UserError(
                f"the dataset {run.recipe.data.path} is not what {run.name} was trained on: held-out clips may be "
                "clips it has seen",
                where=str(run.folder.path),
                mend="Restore the dataset, or train anew.",
            )


def _judged_on(run: TrainedRun) -> tuple[Any, ...]:
    """Everything that a run's losses and held-out clips depend on, but its adapter."""
    datasets = run.card.lineage["datasets"]
    check = run.recipe.check
    measured = check.modes, check.sigmas, check.clips, run.recipe.train.shift
    return datasets["data"], datasets.get("forgetting"), *measured


def recipe_of(folder: Path) -> Recipe:
    """The recipe of a run folder. Raises UserError when it is none."""
    path = folder / "recipe.yaml"
    if not path.is_file():
        raise UserError("this is no run folder", where=str(folder), mend="Name one that worldtune train made.")
    return load_recipe(path, [])


def _read_run(name: str, folder: RunFolder) -> TrainedRun:
    recipe = recipe_of(folder.path)
    if not (folder.adapter / "adapter.json").is_file():
        raise UserError(
            "this run has no adapter yet",
            where=str(folder.path),
            mend="Train it to its end (worldtune train --resume).",
        )
    card = read_card(folder.adapter)
    datasets = card.lineage.get("datasets")
    if not isinstance(datasets, dict) or "data" not in datasets:
        mend = "Name the run's own folder, as `worldtune train` wrote it."
        raise UserError("the card does not say what it was trained on", where=str(folder.adapter), mend=mend)
    return TrainedRun(name, folder, recipe, card, folder.rows(), folder.seconds())


def lineage_of(cards: Mapping[str, AdapterCard]) -> dict[str, Any]:
    """What each adapter is and where it comes from, for the report."""
    return {
        name: {
            "method": f"{card.adapter.method}, rank {card.adapter.rank}",
            "birth proof": card.birth and card.birth.model_dump(mode="json"),
            **card.lineage,
            "weights": card.weights_digest,
            "base_digest": card.base_digest,
            "card": digest_json(card.model_dump(mode="json")),
        }
        for name, card in cards.items()
    }


def forgetting_of(runs: Sequence[TrainedRun]) -> list[dict[str, Any]]:
    """Loss on clips of the base's own domain, before and after each run."""
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
