import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from data.videos import film, read_back, trajectory
from dreams.exported import CAMERA, FPS, LINEAGE, ROBOT, SPACE, commands, dream, export, states
from worldtune.core.actions.space import ActionSpace
from worldtune.data.episode import Episode
from worldtune.data.export.lerobot_info import Robot, robot_of_dataset
from worldtune.data.export.lerobot_writer import write_lerobot
from worldtune.data.sources import open_source
from worldtune.data.sources.lerobot.layouts import Version
from worldtune.errors import DataError

DREAMS = [(9, "lift the cup"), (21, "open the drawer"), (5, "lift the cup")]


def read(folder: Path, cameras: list[str]) -> list[Episode]:
    source = open_source(str(folder))
    found = list(source.recordings(cameras))
    assert source.problems() == []
    assert all(isinstance(recording, Episode) for recording in found)
    return found  # type: ignore[return-value]


def numbers(episode: Episode) -> list[tuple[int, int]]:
    """Return (tag, number) of every frame."""
    return read_back(np.stack([frame_HWC for _, frame_HWC in episode.footage.frames(range(episode.frames))]))


def episode_list(folder: Path) -> list[dict[str, Any]]:
    if (file := folder / "meta/episodes.jsonl").is_file():
        return [json.loads(line) for line in file.read_text().splitlines()]
    return pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_dreams_are_read_back_exactly(tmp_path: Path, version: Version) -> None:
    dreams = [dream(length, tag, task) for tag, (length, task) in enumerate(DREAMS)]
    result = export(tmp_path / "d", dreams, version=version)
    assert (result.episodes, result.frames, result.other_outcomes) == (3, 8 + 20 + 4, 0)
    for tag, (episode, (length, task)) in enumerate(zip(read(tmp_path / "d", [CAMERA]), DREAMS, strict=True)):
        assert (episode.frames, episode.fps, episode.task) == (length - 1, FPS, task)
        assert numbers(episode) == [(tag, t) for t in range(length - 1)]
        assert np.array_equal(episode.states, states(length, tag)[:-1])  # type: ignore[arg-type]
        assert np.array_equal(episode.actions, np.tile(commands(length, tag), 2))  # type: ignore[arg-type]


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_every_row_is_synthetic_and_every_episode_has_its_lineage(tmp_path: Path, version: Version) -> None:
    export(tmp_path / "d", [dream(5, tag) for tag in range(3)], version=version)
    for file in sorted((tmp_path / "d/data").rglob("*.parquet")):
        column = pq.read_table(file).column("is_synthetic")
        assert (str(column.type), column.to_pylist()) == ("bool", [True] * 4)
    for tag, record in enumerate(episode_list(tmp_path / "d")):
        assert record["outcome"] == "success"
        assert {name: record[f"lineage/{name}"] for name in LINEAGE} == LINEAGE | {"seed": str(tag)}
        assert (record["episode_index"], record["length"], record["tasks"]) == (tag, 4, ["lift the cup"])


def test_info_declares_what_action_holds(tmp_path: Path) -> None:
    export(tmp_path / "d", [dream()])
    info = json.loads((tmp_path / "d/meta/info.json").read_text())
    features = info["features"]
    assert (info["robot_type"], info["fps"]) == ("sawyer", FPS)
    assert features["is_synthetic"] == {"dtype": "bool", "shape": [1], "names": None}
    assert (features["action"]["shape"], features["action"]["names"]) == ([4], ROBOT.action_names)
    declared = features["action"]["info"]
    assert declared["action_space"] == SPACE.model_dump(mode="json")
    assert declared["content"].startswith("2 commands, each of which is the mean command of the frame interval after")
    assert "last frame of a dream has no row" in declared["last_frame"]
    assert features["observation.state"]["info"] == {
        "content": "read from the generated video by an inverse dynamics model"
    }


def test_statistics_are_those_of_the_exported_rows(tmp_path: Path) -> None:
    export(tmp_path / "d", [dream(9, 0), dream(5, 1)])
    rows = np.concatenate([np.tile(commands(length, tag), 2) for tag, length in enumerate((9, 5))])
    statistics = json.loads((tmp_path / "d/meta/stats.json").read_text())
    assert statistics["action"]["mean"] == pytest.approx(rows.mean(0))
    assert statistics["action"]["max"] == rows.max(0).tolist()
    assert statistics["action"]["count"] == statistics[CAMERA]["count"] == [12]
    assert statistics["is_synthetic"]["min"] == [1]


def test_modality_json_of_gr00t_names_the_parts(tmp_path: Path) -> None:
    groups = {"action": {"first": (0, 2), "second": (2, 4)}}
    export(tmp_path / "d", [dream()], version="v2.1", groups=groups)
    export(tmp_path / "e", [dream(states_TS=None)], version="v2.1")
    modality = json.loads((tmp_path / "d/meta/modality.json").read_text())
    assert modality["action"] == {"first": {"start": 0, "end": 2}, "second": {"start": 2, "end": 4}}
    assert modality["state"] == {"state": {"start": 0, "end": 2}}
    assert json.loads((tmp_path / "e/meta/modality.json").read_text())["state"] == {}


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_dreams_without_states_have_no_state_column(tmp_path: Path, version: Version) -> None:
    export(tmp_path / "d", [dream(states_TS=None), dream(tag=1, states_TS=None)], version=version)
    assert [episode.states for episode in read(tmp_path / "d", [CAMERA])] == [None, None]
    assert "observation.state" not in json.loads((tmp_path / "d/meta/info.json").read_text())["features"]


@pytest.mark.parametrize("first_has_states", [False, True])
def test_episodes_with_and_without_states_are_not_mixed(tmp_path: Path, first_has_states: bool) -> None:
    dreams = [dream(), dream(states_TS=None)]
    with pytest.raises(DataError, match=r"as two datasets") as caught:
        export(tmp_path / "d", dreams if first_has_states else dreams[::-1])
    assert "episode 1" in str(caught.value)
    assert not (tmp_path / "d").exists()


def test_tiled_cameras_are_written_one_by_one(tmp_path: Path) -> None:
    left, right = film(6, 3), film(6, 4)
    layout = (("observation.images.left", "observation.images.right"),)
    tiled = replace(dream(6), frames_THWC=np.concatenate([left, right], axis=2))
    export(tmp_path / "d", [tiled], camera=layout)
    found = read(tmp_path / "d", list(layout[0]))
    assert [numbers(episode) for episode in found] == [[(tag, t) for t in range(5)] for tag in (3, 4)]
    features = json.loads((tmp_path / "d/meta/info.json").read_text())["features"]
    tile = {name: features["observation.images.right"]["info"][name] for name in ("tiled_in", "row", "column")}
    assert tile == {"tiled_in": "observation.images.left+observation.images.right", "row": 0, "column": 1}
    assert features["observation.images.left"]["shape"] == [64, 64, 3]
    with pytest.raises(DataError, match="64×64 cannot be split into the 1×3 cameras"):
        export(tmp_path / "e", [dream()], camera=(("a", "b", ""),))


def test_failures_are_never_exported_as_successes(tmp_path: Path) -> None:
    dreams = [dream(5, 0), dream(5, 1, outcome="failure"), dream(5, 2, outcome="rare"), dream(5, 3)]
    result = export(tmp_path / "d", dreams)
    assert (result.episodes, result.other_outcomes) == (2, 2)
    assert [numbers(episode)[0][0] for episode in read(tmp_path / "d", [CAMERA])] == [0, 3]
    export(tmp_path / "failures", dreams, outcome="failure")
    assert [record["outcome"] for record in episode_list(tmp_path / "failures")] == ["failure"]
    with pytest.raises(DataError, match="none of the 1 kept dreams shows the outcome 'success'"):
        export(tmp_path / "none", [dream(outcome="failure")])


def test_all_dreams_rejected_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="all dreams were rejected, so there is nothing to export"):
        export(tmp_path / "d", [])
    assert not (tmp_path / "d").exists()


def test_folder_that_is_not_a_dataset_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("a file")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("kept")
    for name in ("mine", "notes"):
        with pytest.raises(DataError, match="the folder exists and is not a dataset"):
            export(tmp_path / name, [dream()])
    assert (tmp_path / "notes/a.txt").read_text() == "kept"
    assert (tmp_path / "mine").read_text() == "a file"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (replace(dream(), commands_ID=commands(10, 0)), "9 frames have 9 commands and 9 states"),
        (replace(dream(), states_TS=states(8, 0)), "9 frames have 8 commands and 8 states"),
        (replace(dream(), frames_THWC=film(1), commands_ID=commands(1, 0), states_TS=None), "1 frames have 0 commands"),
        (replace(dream(), commands_ID=np.zeros((8, 3), np.float32)), "state_columns names 2 columns"),
        (replace(dream(), commands_ID=np.full((8, 2), np.nan, np.float32)), "not finite"),
        (replace(dream(), task=" "), "task text is empty"),
        (replace(dream(), lineage={"adapter": ""}), "does not name base, prompt, seed, idm, critics, first_frame"),
        (replace(dream(), lineage=LINEAGE | {"idm": " "}), "idm is empty in its lineage"),
        (replace(dream(), lineage=LINEAGE | {"judge": "x"}), "not all episodes have lineage/judge"),
    ],
)
def test_dreams_that_do_not_fit_are_errors(tmp_path: Path, changed: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        export(tmp_path / "d", [dream(), changed])
    assert not (tmp_path / "d").exists()


def test_base_alone_has_no_adapter(tmp_path: Path) -> None:
    export(tmp_path / "d", [dream(lineage=LINEAGE | {"adapter": "", "critics": ""})])
    assert episode_list(tmp_path / "d")[0]["lineage/adapter"] == ""


def test_single_command_needs_no_spreading(tmp_path: Path) -> None:
    export(tmp_path / "d", [dream(6)], action_space=ActionSpace(kind="absolute"), robot=Robot("arm"))
    (episode,) = read(tmp_path / "d", [CAMERA])
    assert np.array_equal(episode.actions, commands(6, 0))  # type: ignore[arg-type]
    content = json.loads((tmp_path / "d/meta/info.json").read_text())["features"]["action"]["info"]["content"]
    assert content.startswith("the mean command of the frame interval after the row's frame, read from")


def test_robot_is_that_of_a_dataset(tmp_path: Path) -> None:
    robot = Robot("sawyer", ["x", "y"], ["dx", "dy", "grip"])
    write_lerobot(tmp_path / "named", [trajectory(4)], FPS, robot, CAMERA)
    write_lerobot(tmp_path / "unnamed", [trajectory(4)], FPS, Robot("arm"), CAMERA)
    assert robot_of_dataset(tmp_path / "named") == robot
    assert robot_of_dataset(tmp_path / "unnamed") == Robot("arm", None, None)
