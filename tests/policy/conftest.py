"""A scene with its demonstrations, and small training episodes."""

import os
from collections.abc import Iterator

import numpy as np
import pytest

from worldtune.policy.episode import TrainingEpisode
from worldtune.policy.training.demonstrations import training_episode

os.environ.setdefault("MUJOCO_GL", "osmesa")


@pytest.fixture(scope="session")
def scene() -> Iterator["Scene"]:  # type: ignore[name-defined]  # noqa: F821
    """The button, seen from above by a fixed camera."""
    pytest.importorskip("mujoco", reason="the extra 'sim' is not installed", exc_type=ImportError)
    from worldtune.sim.scene import Scene
    from worldtune.sim.tasks import TASKS
    from worldtune.sim.views import VIEWS

    with Scene(TASKS["button-press"], VIEWS["top"]) as opened:
        yield opened


@pytest.fixture(scope="session")
def demonstrations(scene: "Scene") -> list["Demonstration"]:  # type: ignore[name-defined]  # noqa: F821
    from worldtune.sim.seeds import DEMONSTRATIONS, seed_block

    return scene.demonstrate(seed_block(DEMONSTRATIONS, 0), 2)


@pytest.fixture(scope="session")
def episodes(demonstrations: list["Demonstration"]) -> list[TrainingEpisode]:  # type: ignore[name-defined]  # noqa: F821
    return [training_episode(demo) for demo in demonstrations]


def make_episode(name: str = "a", frames: int = 6, seed: int = 0, *, synthetic: bool = False) -> TrainingEpisode:
    """Return an episode of noise, 32×32 pixels, whose hand moves at least 1 cm in every interval."""
    rng = np.random.default_rng(seed)
    states_TS = np.cumsum(rng.uniform(0.01, 0.03, (frames, 4)), axis=0).astype(np.float32)
    frames_THWC = rng.integers(0, 256, (frames, 32, 32, 3), dtype=np.uint8)
    actions_ID = rng.uniform(-1, 1, (frames, 4)).astype(np.float32)
    lineage = {"adapter": "a1", "seed": "7"} if synthetic else {}
    return TrainingEpisode(name, "move", frames_THWC, states_TS, actions_ID, synthetic, lineage)
