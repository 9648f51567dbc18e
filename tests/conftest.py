"""Shared fixtures: the same threads everywhere, the command line, tiny models, real data if available."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("worldtune", deadline=None)  # a busy machine must not fail a test
settings.load_profile("worldtune")
os.environ.setdefault("MUJOCO_GL", "osmesa")  # before anything imports mujoco
os.environ.setdefault("OMP_NUM_THREADS", "2")  # before anything imports torch

WORLDTUNE = (sys.executable, "-c", "from worldtune.cli.main import main; main()")

CommandLine = Callable[..., subprocess.CompletedProcess[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with slow tests first, so that no worker waits long for the last file."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the tests of all xdist workers one home folder, because the latent store is in it."""
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "home"
    home.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        yield


@pytest.fixture
def worldtune(tmp_path: Path) -> CommandLine:
    """Return a function that runs `worldtune("train", "x.yaml")` in a new process, in an empty folder or `cwd`."""

    def run(*arguments: str | Path, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*WORLDTUNE, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random base model. Do not write into it."""
    from support.tiny_world import make_tiny_world

    return make_tiny_world(tmp_path_factory.mktemp("bases") / "tiny")


@pytest.fixture(scope="session")
def tiny_adapter(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an adapter for the tiny world. Do not write into it."""
    from support.adapters import SPECS, make_card, train_by_hand
    from worldtune.adapters.folder import save_adapter
    from worldtune.models.load import open_world

    world = open_world(str(tiny_world))
    train_by_hand(world.denoiser, SPECS["lora"])
    folder = tmp_path_factory.mktemp("adapters") / "tiny"
    save_adapter(folder, world.denoiser, make_card(SPECS["lora"], world.card.digest))
    return folder


@pytest.fixture(scope="session")
def tiny_predict2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random base model of Predict 2. Do not write into it."""
    from support.tiny_world import make_tiny_predict2

    return make_tiny_predict2(tmp_path_factory.mktemp("bases") / "tiny-predict2")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real robot datasets that WORLDTUNE_TEST_DATA names; it is too large to ship."""
    named = os.environ.get("WORLDTUNE_TEST_DATA")
    if not named or not Path(named).is_dir():
        pytest.skip("WORLDTUNE_TEST_DATA names no folder")
    return Path(named)
