"""Fixtures for tests of generated videos: the tiny base model, and clips encoded by it."""

from pathlib import Path

import pytest

from support.films import write_square_dataset
from support.training import small_data, small_recipe
from worldtune.latents.dataset import LatentClip
from worldtune.models.load import open_world
from worldtune.models.world import World


@pytest.fixture(scope="module")
def world(tiny_world: Path) -> World:
    return open_world(str(tiny_world))


@pytest.fixture(scope="module")
def clips(world: World, tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> list[LatentClip]:
    folder = tmp_path_factory.mktemp("clips")
    return small_data(
        world, small_recipe(tiny_world, write_square_dataset(folder / "films", 12)), folder / "store"
    ).train
