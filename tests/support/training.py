"""A small training recipe and its encoded data."""

from pathlib import Path
from typing import Any

import yaml

from support.films import write_square_dataset
from worldtune.core.settings import parse_model
from worldtune.latents.store import LatentStore
from worldtune.models.world import World
from worldtune.training.data.encode_datasets import TrainingData, prepare_data
from worldtune.training.recipe import Recipe


def recipe_data(base: Path, films: Path, **train: Any) -> dict[str, Any]:
    """Return the content of a recipe's YAML: six clips to train on, two held out."""
    return {
        "name": "small",
        "base": str(base),
        "data": {"path": str(films), "frames": 9, "fps": 16, "height": 32, "width": 32, "held_out": 0.25},
        "adapter": {"method": "lora", "rank": 4},
        "train": {"steps": 6, "batch": 3, "lr": 0.01, "warmup": 2, "checkpoint_every": 2} | train,
        "validate": {"every": 3, "sigmas": 2},
    }


def write_recipe(folder: Path, base: Path, **train: Any) -> Path:
    """Write the recipe's file beside its videos."""
    films = write_square_dataset(folder / "films", 8)
    (folder / "small.yaml").write_text(yaml.safe_dump(recipe_data(base, films, **train)))
    return folder / "small.yaml"


def small_recipe(base: Path, films: Path, **train: Any) -> Recipe:
    return parse_model(Recipe, recipe_data(base, films, **train), "test")


def small_data(world: World, recipe: Recipe, folder: Path) -> TrainingData:
    return prepare_data(world, recipe, LatentStore(folder))
