"""Fixtures for dreams of pocket: the base, a few clips, an IDM, two adapters, and a finished set of dreams."""

from typing import Any

import pytest

from dreams.models import make_adapter, make_idm
from worldtune.adapters.used import Used
from worldtune.data.dataset import Dataset, open_dataset
from worldtune.data.spec import DataSpec
from worldtune.dreams.dream import dream
from worldtune.dreams.dream_set import DreamSet
from worldtune.dreams.idm.model import InverseDynamics
from worldtune.dreams.request import DreamRequest
from worldtune.models.load import open_world
from worldtune.models.world import World

TASKS = (
    "Seen from above: the robot arm opens the drawer.",
    "Seen from above: the robot arm slides the plate into the goal.",
)
DATA: dict[str, Any] = {"path": "builtin:pocket-new-view", "held_out": 0.5, "tasks": list(TASKS)}


@pytest.fixture(scope="session")
def world() -> World:
    return open_world("pocket")


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    return open_dataset(DataSpec(**DATA, frames=21, fps=16, height=64, width=64))


@pytest.fixture(scope="session")
def idm(world: World, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> InverseDynamics:
    return make_idm(tmp_path_factory.mktemp("idm") / "idm", world, dataset.train, dataset.state_names)


@pytest.fixture(scope="session")
def adapters(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Used]:
    folder = tmp_path_factory.mktemp("adapters")
    strengths = {"one": 0.02, "two": 0.1}
    return {
        name: Used(make_adapter(folder / name, world, seed, strength))
        for seed, (name, strength) in enumerate(strengths.items())
    }


@pytest.fixture(scope="session")
def request_of_six(adapters: dict[str, Used]) -> DreamRequest:
    """Six dreams: three first frames, each with two adapters."""
    return DreamRequest(adapters=tuple(adapters), data=DATA, idm="idm", steps=2, max_dreams=6, critics=("path",))


@pytest.fixture(scope="session")
def made(
    world: World,
    idm: InverseDynamics,
    adapters: dict[str, Used],
    request_of_six: DreamRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> DreamSet:
    """A finished set of dreams. Do not write into it."""
    out = tmp_path_factory.mktemp("dreams") / "made"
    return dream(request_of_six, out, world=world, adapters=adapters, labeler=idm)
