"""Check the datasets of a recipe before training: their faults, and how well the base fits them.

Checking a dataset alone does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from worldtune.core.progress import Progress, silent, stage
from worldtune.data.dataset import Dataset, build_dataset
from worldtune.data.obedience import describe_obedience
from worldtune.data.sources import choose_cameras, open_spec_source
from worldtune.data.spec import DataSpec

if TYPE_CHECKING:
    from worldtune.evaluation.base_compatibility import BaseCompatibility
    from worldtune.training.recipe import Recipe


@dataclass(frozen=True)
class CheckedDataset:
    """A dataset under its name in the recipe. `base` and `codec` describe how well a base on this machine fits it.

    `obedience` says whether clips whose action space is declared can teach a model to obey actions.
    `dataset.faults` includes faults that only the base shows, such as captions too long for it.
    """

    name: str
    spec: DataSpec
    dataset: Dataset
    base: BaseCompatibility | None
    codec: tuple[str, ...]
    obedience: str | None = None


def check_recipe(recipe: Recipe, progress: Progress = silent) -> list[CheckedDataset]:
    """Check every dataset of a recipe. Raise RecipeError if the recipe's base cannot generate clips of their size."""
    from worldtune.models.clip_size import check_size, config_of

    if config := config_of(recipe.base):
        for name, spec in recipe.datasets.items():
            check_size(config, recipe.base, spec.frames, spec.height, spec.width, name)
    return check_datasets(recipe.datasets, recipe.base, progress)


def check_datasets(
    specs: Mapping[str, DataSpec], base: str | None = None, progress: Progress = silent
) -> list[CheckedDataset]:
    """Decode and check datasets. If `base` is given and is on this machine, check that it fits them too.

    Raise DataError if a source cannot be read.
    """
    datasets = {name: _build(spec, progress) for name, spec in specs.items()}
    compatible, codec_notes = _inspect(base, datasets, progress) if base else ({}, {})
    checked = []
    for name, spec in specs.items():
        fit = compatible.get(name)
        codec = tuple(codec_notes.get(name, ()))
        checked.append(CheckedDataset(name, spec, _with_base_faults(datasets[name], fit), fit, codec))
    declared = [item for item in checked if item.spec.action_space is not None and item.name != "retention"]
    if declared:  # one answer for all training clips together: play may be a dataset of its own
        sentence = describe_obedience([clip for item in declared for clip in item.dataset.train])
        checked[0] = replace(checked[0], obedience=sentence)
    return checked


def _inspect(
    base: str, datasets: Mapping[str, Dataset], progress: Progress
) -> tuple[dict[str, BaseCompatibility], dict[str, list[str]]]:
    """Return by dataset how well the base fits it and notes on the codec's loss; both empty without a local base."""
    from worldtune.evaluation.base_compatibility import describe_codec_loss, inspect_datasets
    from worldtune.models.resolve_base import local_folder

    if not (folder := local_folder(base)):
        return {}, {}
    stage(progress, "base")
    compatible = inspect_datasets(folder, datasets)
    return compatible, describe_codec_loss(compatible)


def _build(spec: DataSpec, progress: Progress) -> Dataset:
    choose_cameras(open_spec_source(spec), spec.requested_cameras)  # raises before the progress bar appears
    return build_dataset(spec, stage(progress, "decode"))


def _with_base_faults(dataset: Dataset, fit: BaseCompatibility | None) -> Dataset:
    return replace(dataset, faults=[*dataset.faults, *fit.faults]) if fit else dataset
