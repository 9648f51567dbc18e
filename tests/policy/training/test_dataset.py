"""Training episodes of real datasets, and of dreams as they are exported."""

from pathlib import Path

import numpy as np
import pytest

from policy.conftest import make_episode
from worldtune.core.actions.space import ActionSpace
from worldtune.data.export.lerobot_info import Robot
from worldtune.data.export.lerobot_writer import write_lerobot
from worldtune.dreams.export import LINEAGE, LabeledEpisode, export_dreams
from worldtune.errors import DataError
from worldtune.policy.folder import load_policy
from worldtune.policy.session import train_on_datasets
from worldtune.policy.spec import PolicySpec
from worldtune.policy.training.dataset import read_episodes

CAMERA = "observation.images.scene"
FIVE = ActionSpace(kind="delta", commands_per_frame=5)


def write(folder: Path, count: int = 2, fps: float = 16, task: str = "move") -> np.ndarray:
    """Write episodes with five commands a row, and return the first episode's actions (T, 20)."""
    rng = np.random.default_rng(0)
    episodes = [make_episode(seed=seed) for seed in range(count)]
    actions = [rng.uniform(-1, 1, (len(episode.frames_THWC), 20)).astype(np.float32) for episode in episodes]
    rows = [(e.frames_THWC, e.states_TS, a, task) for e, a in zip(episodes, actions, strict=True)]
    write_lerobot(folder, rows, fps, Robot("arm"), CAMERA)
    return actions[0]


def write_dreams(folder: Path, count: int = 2, fps: float = 16, space: ActionSpace = FIVE) -> None:
    dreams = [
        LabeledEpisode(
            episode.frames_THWC,
            episode.states_TS,
            episode.actions_ID[:-1],
            "move",
            dict.fromkeys(LINEAGE, "x") | {"adapter": f"adapter {seed}"},
        )
        for seed, episode in enumerate(make_episode(seed=seed) for seed in range(count))
    ]
    export_dreams(dreams, folder, fps=fps, robot=Robot("arm"), camera=CAMERA, action_space=space)


def test_actions_are_the_mean_commands(tmp_path: Path) -> None:
    actions_TA = write(tmp_path / "real")
    found = read_episodes(str(tmp_path / "real"), FIVE)
    assert (found.fps, found.task, found.is_synthetic, len(found.episodes)) == (16, "move", False, 2)
    episode = found.episodes[0]
    assert episode.actions_ID == pytest.approx(actions_TA.reshape(-1, 5, 4).mean(1), abs=1e-6)
    assert np.array_equal(episode.states_TS, make_episode().states_TS)
    assert episode.frames_THWC.shape == (6, 32, 32, 3)
    assert (episode.name, episode.prompt, episode.lineage) == ("real/000000", "move", {})


def test_policy_card_has_the_lineage_of_synthetic_episodes(tmp_path: Path) -> None:
    write(tmp_path / "real")
    write_dreams(tmp_path / "dreams", count=3)
    paths = str(tmp_path / "real"), [str(tmp_path / "dreams")]
    train_on_datasets(*paths, tmp_path / "policy", PolicySpec(steps=2, batch_size=4), FIVE)
    card = load_policy(tmp_path / "policy").card
    assert [record.is_synthetic for record in card.episodes] == [False, False, True, True, True]
    assert [record.lineage.get("adapter") for record in card.episodes[1:4]] == [None, "adapter 0", "adapter 1"]
    assert set(card.episodes[2].lineage) == set(LINEAGE)
    assert [record.frames for record in card.episodes] == [6, 6, 5, 5, 5]
    assert card.action_space == FIVE


def test_datasets_of_the_wrong_kind_are_an_error(tmp_path: Path) -> None:
    real, dreams, policy, spec = str(tmp_path / "real"), str(tmp_path / "dreams"), tmp_path / "policy", PolicySpec()
    write(tmp_path / "real")
    write(tmp_path / "dreams")
    with pytest.raises(DataError, match="the synthetic dataset has no column is_synthetic"):
        train_on_datasets(real, [dreams], policy, spec, FIVE)
    write_dreams(tmp_path / "dreams")
    with pytest.raises(DataError, match="the real dataset is synthetic"):
        train_on_datasets(dreams, [], policy, spec, FIVE)
    with pytest.raises(DataError, match=r"its info\.json states another action space"):
        read_episodes(dreams, ActionSpace(kind="absolute", commands_per_frame=5))
    assert not policy.exists()


def test_frame_rates_must_agree(tmp_path: Path) -> None:
    write(tmp_path / "real")
    write_dreams(tmp_path / "dreams", fps=8)
    paths = str(tmp_path / "real"), [str(tmp_path / "dreams")]
    with pytest.raises(DataError, match="it has 8 frames per second, the real dataset 16"):
        train_on_datasets(*paths, tmp_path / "policy", PolicySpec(), FIVE)


def test_one_task_must_be_chosen() -> None:
    with pytest.raises(DataError, match="8 tasks, but a policy learns one"):
        read_episodes("builtin:pocket-new-view", FIVE)
    with pytest.raises(DataError, match="no episode has the task 'fly'"):
        read_episodes("builtin:pocket-new-view", FIVE, "fly")


def test_commands_that_do_not_divide_a_row_are_an_error(tmp_path: Path) -> None:
    write(tmp_path / "real")
    with pytest.raises(DataError, match="20 numbers in a row of `action` are not 3 commands"):
        read_episodes(str(tmp_path / "real"), ActionSpace(kind="delta", commands_per_frame=3))


def test_other_formats_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"")
    with pytest.raises(DataError, match="not a LeRobot dataset"):
        read_episodes(str(tmp_path), FIVE)
