import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.videos import edit_info
from dreams.exported import CAMERA, SPACE, commands, dream, export, write_real
from worldtune.core.actions.space import ActionSpace
from worldtune.data.export.lerobot_info import Robot
from worldtune.dreams.mixing.mixture import read_mixture, write_mixture
from worldtune.errors import DataError, RecipeError


def real_and_dreams(root: Path, **changes: Any) -> tuple[Path, Path]:
    export(root / "dreams", [dream(9, 0), dream(7, 1)], **changes)
    return write_real(root / "real"), root / "dreams"


def test_mixture_names_datasets_share_and_columns(tmp_path: Path) -> None:
    real, dreams = real_and_dreams(tmp_path)
    mixture = write_mixture(real, dreams, action_space=SPACE)
    assert (mixture.share, mixture.fps, mixture.action_space) == (0.5, 16, SPACE)
    assert (mixture.real.path, mixture.real.episodes, mixture.real.frames) == (str(real), 2, 20)
    assert (mixture.synthetic.path, mixture.synthetic.episodes, mixture.synthetic.frames) == (str(dreams), 2, 14)
    assert {"action", "observation.state", CAMERA, "timestamp"} <= set(mixture.columns)
    assert "is_synthetic" not in mixture.columns
    assert read_mixture(dreams) == read_mixture(dreams / "mixture.json") == mixture


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_statistics_follow_the_share(tmp_path: Path, share: float) -> None:
    real, dreams = real_and_dreams(tmp_path)
    statistics = write_mixture(real, dreams, action_space=SPACE, share=share).statistics["action"]
    first = [
        np.concatenate([commands(n + 1, tag), commands(n + 1, tag) * [0.5, 1]], 1) for tag, n in enumerate((8, 12))
    ]
    recorded = np.concatenate(first)
    dreamed = np.concatenate([np.tile(commands(9, 0), 2), np.tile(commands(7, 1), 2)])
    weights = np.concatenate([np.full(20, (1 - share) / 20), np.full(14, share / 14)])
    rows = np.concatenate([recorded, dreamed])
    mean = weights @ rows
    assert statistics.mean == pytest.approx(mean)
    assert statistics.std == pytest.approx(np.sqrt(weights @ (rows - mean) ** 2))
    assert (statistics.min, statistics.max) == (pytest.approx(rows.min(0)), pytest.approx(rows.max(0)))


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_digest_covers_every_file(tmp_path: Path, version: Any) -> None:
    export(tmp_path / "dreams", [dream()], version=version)
    real = write_real(tmp_path / "real", version=version)
    write_mixture(real, tmp_path / "dreams", action_space=SPACE)
    read_mixture(tmp_path / "dreams")
    (video, *_) = sorted(real.rglob("*.mp4"))
    with video.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(DataError, match="the dataset has changed since it was mixed"):
        read_mixture(tmp_path / "dreams")
    shutil.rmtree(real)
    with pytest.raises(DataError, match="a dataset of the mixture is missing"):
        read_mixture(tmp_path / "dreams")


def test_mixture_goes_with_the_dataset_it_was_made_for(tmp_path: Path) -> None:
    real, dreams = real_and_dreams(tmp_path)
    write_mixture(real, dreams, action_space=SPACE)
    export(dreams, [dream(5, 3)])
    assert not (dreams / "mixture.json").exists()
    with pytest.raises(DataError, match="cannot be read"):
        read_mixture(dreams)


def test_damaged_mixture_is_one_line(tmp_path: Path) -> None:
    real, dreams = real_and_dreams(tmp_path)
    write_mixture(real, dreams, action_space=SPACE)
    content = json.loads((dreams / "mixture.json").read_text())
    for broken, message in (
        (content | {"share": 1}, "'share' is 1"),
        (content | {"shares": 1}, "unknown key 'shares'"),
    ):
        (dreams / "mixture.json").write_text(json.dumps(broken))
        with pytest.raises(DataError, match=message):
            read_mixture(dreams)


def _other_statistics(real: Path, dreams: Path) -> None:
    path = dreams / "meta/stats.json"
    statistics = json.loads(path.read_text())
    statistics["action"]["max"] = [40.0] * 4
    path.write_text(json.dumps(statistics))


def _no_statistics(real: Path, dreams: Path) -> None:
    (dreams / "meta/stats.json").write_text("{}")


def _other_units(real: Path, dreams: Path) -> None:
    shutil.rmtree(dreams)
    export(dreams, [dream(commands_ID=100 * commands(9, 0))])


def _frozen(real: Path, dreams: Path) -> None:
    shutil.rmtree(dreams)
    export(dreams, [dream(commands_ID=0.01 * commands(9, 0))])


def _other_robot(real: Path, dreams: Path) -> None:
    shutil.rmtree(dreams)
    names = ["a", "b", "c", "d"]
    export(dreams, [dream()], robot=Robot("arm", ["x", "gripper"], names))


def _stateless(real: Path, dreams: Path) -> None:
    shutil.rmtree(dreams)
    export(dreams, [dream(states_TS=None)])


def _failures(real: Path, dreams: Path) -> None:
    shutil.rmtree(dreams)
    export(dreams, [dream(outcome="failure")], outcome="failure")


def _other_camera(real: Path, dreams: Path) -> None:
    shutil.rmtree(dreams)
    export(dreams, [dream()], camera="observation.images.top")


def _wider_action(real: Path, dreams: Path) -> None:
    shutil.rmtree(dreams)
    space = ActionSpace(kind="delta", commands_per_frame=3, state_columns=(0, None))
    export(dreams, [dream()], action_space=space, robot=Robot("sawyer", ["x", "gripper"]))


def _absolute(real: Path, dreams: Path) -> None:
    shutil.rmtree(dreams)
    export(dreams, [dream()], action_space=ActionSpace(kind="absolute", commands_per_frame=2))


def _slower(real: Path, dreams: Path) -> None:
    shutil.rmtree(real)
    write_real(real, fps=30)


def _not_a_dataset(real: Path, dreams: Path) -> None:
    (real / "meta/info.json").unlink()


def _twice_dreams(real: Path, dreams: Path) -> None:
    shutil.rmtree(real)
    shutil.copytree(dreams, real)


def _twice_real(real: Path, dreams: Path) -> None:
    shutil.rmtree(dreams)
    shutil.copytree(real, dreams)


def _damaged_declaration(real: Path, dreams: Path) -> None:
    features = json.loads((dreams / "meta/info.json").read_text())["features"]
    features["action"]["info"]["action_space"]["kind"] = "relative"
    edit_info(dreams, features=features)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other_statistics, r"stored statistics of action are those of another dataset: max is \[40\.0"),
        (_no_statistics, "the statistics state no min of observation.state"),
        (_other_units, r"action has other units in the dreams: by median .* they are 102 "),
        (_frozen, r"action has other units in the dreams: .* spread over 0\.0099"),
        (_other_robot, r"dimensions of action are \['0\.dx', .* and \['a', 'b', 'c', 'd'\] in the dreams"),
        (_stateless, "the real dataset has states, but the dreams have none"),
        (_failures, "show the outcome 'failure', which a policy would learn as a success"),
        (_other_camera, "show observation.images.top, which the real dataset does not have"),
        (_wider_action, "a row of action has 4 numbers in the real dataset and 6 in the dreams"),
        (_absolute, r"declared as absolute, 2 per frame, not delta, 2 per frame, of the states \[0, None\]"),
        (_slower, "the real dataset has 30 frames per second, the dreams have 16"),
        (_not_a_dataset, "this is not a LeRobot dataset"),
        (_twice_dreams, "the real dataset is synthetic"),
        (_twice_real, "the synthetic dataset has no column is_synthetic"),
        (_damaged_declaration, "'kind' is 'relative'"),
    ],
)
def test_datasets_that_do_not_fit_are_errors(
    tmp_path: Path, change: Callable[[Path, Path], None], message: str
) -> None:
    real, dreams = real_and_dreams(tmp_path)
    change(real, dreams)
    with pytest.raises(DataError, match=message):
        write_mixture(real, dreams, action_space=SPACE)
    assert not (dreams / "mixture.json").exists()


def test_names_under_one_key_are_the_same_names(tmp_path: Path) -> None:
    """lerobot's robots write the names as {"motors": [...]}."""
    real, dreams = real_and_dreams(tmp_path)
    features = json.loads((real / "meta/info.json").read_text())["features"]
    features["action"]["names"] = {"motors": features["action"]["names"]}
    edit_info(real, features=features)
    assert write_mixture(real, dreams, action_space=SPACE).real.frames == 20


def test_declared_action_space_must_fit_the_rows(tmp_path: Path) -> None:
    real, dreams = real_and_dreams(tmp_path)
    with pytest.raises(DataError, match="4 numbers in a row of `action` are not 3 commands"):
        write_mixture(real, dreams, action_space=ActionSpace(kind="delta", commands_per_frame=3))


@pytest.mark.parametrize("share", [0, 1, 1.5])
def test_share_is_between_0_and_1(tmp_path: Path, share: float) -> None:
    real, dreams = real_and_dreams(tmp_path)
    with pytest.raises(RecipeError, match="the share is"):
        write_mixture(real, dreams, action_space=SPACE, share=share)


def test_statistics_of_lerobot_2_1_are_read_per_episode(tmp_path: Path) -> None:
    """lerobot 0.3.2 writes no stats.json."""
    export(tmp_path / "dreams", [dream()])
    real = write_real(tmp_path / "real", version="v2.1")
    (real / "meta/stats.json").unlink()
    assert write_mixture(real, tmp_path / "dreams", action_space=SPACE).real.frames == 20
    path = real / "meta/episodes_stats.jsonl"
    path.write_text(path.read_text().replace('"max"', '"most"'))
    with pytest.raises(DataError, match="the statistics state no max of"):
        write_mixture(real, tmp_path / "dreams", action_space=SPACE)
