from pathlib import Path

import pytest

from support.films import write_square_dataset
from support.training import small_data, small_recipe
from worldtune.models.load import open_world
from worldtune.models.world import World
from worldtune.training.data.encode_datasets import TrainingData


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight videos as a dataset."""
    return write_square_dataset(tmp_path_factory.mktemp("data") / "videos", 8)


@pytest.fixture(scope="session")
def data(tiny_world: Path, videos: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """The videos encoded: six to train on, two held out."""
    recipe = small_recipe(tiny_world, videos)
    return small_data(open_world(str(tiny_world)), recipe, tmp_path_factory.mktemp("store"))


@pytest.fixture
def world(tiny_world: Path) -> World:
    return open_world(str(tiny_world))
