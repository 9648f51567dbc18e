from pathlib import Path

import pytest

from support.films import write_films
from support.training import small_data, small_recipe
from worldtune.training.data import TrainingData
from worldtune.worlds.load import open_world
from worldtune.worlds.world import World


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight films as a dataset."""
    return write_films(tmp_path_factory.mktemp("data") / "films", 8)


@pytest.fixture(scope="session")
def data(tiny_world: Path, films: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """The films encoded: six to train on, two held out."""
    recipe = small_recipe(tiny_world, films)
    return small_data(open_world(str(tiny_world)), recipe, tmp_path_factory.mktemp("store"))


@pytest.fixture
def world(tiny_world: Path) -> World:
    return open_world(str(tiny_world))
