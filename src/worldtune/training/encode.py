"""Encode a recipe's clips and prompts before training: in this process, in several, or on a Ray cluster."""

from functools import partial
from pathlib import Path

from worldtune.core.progress import Progress, silent, stage
from worldtune.latents.encode_processes import EncodeSettings, encode_in_processes
from worldtune.latents.encode_ray import encode_on_ray
from worldtune.latents.store import default_store
from worldtune.models.load import open_world_on
from worldtune.training.data.encode_datasets import TrainingData, prepare_data
from worldtune.training.recipe import Recipe


def encode_recipe(
    recipe: Recipe, *, device: str | None = None, workers: int = 1, ray: bool = False, progress: Progress = silent
) -> tuple[TrainingData, Path]:
    """Encode a recipe's datasets into the user's latent store; return the data and the store's folder.

    Each of `workers` processes opens the base, on this machine or, with `ray`, in a cluster. Raise DataError and
    RecipeError as `prepare_data` does.
    """
    store = default_store()
    world = open_world_on(device, recipe.base)
    encoder = EncodeSettings.from_world(world, store, workers)
    encode = encode_on_ray if ray else encode_in_processes
    encode_remotely = partial(encode, encoder, workers) if ray or workers > 1 else None
    return prepare_data(world, recipe, store, stage(progress, "encode"), encode_remotely=encode_remotely), store.folder
