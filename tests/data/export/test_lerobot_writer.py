import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from worldtune.data.clip import read_clip
from worldtune.data.episode import Episode
from worldtune.data.export.lerobot_info import Robot
from worldtune.data.export.lerobot_writer import EpisodeData, write_lerobot
from worldtune.data.sources import open_source
from worldtune.data.sources.lerobot.layouts import Groups
from worldtune.errors import DataError

from ..videos import film, read_back, trajectory, whole

CAMERA = "observation.images.scene"
EPISODES = [(9, "lift the cup"), (21, "open the drawer"), (5, "lift the cup")]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    folder = tmp_path / "written"
    episodes = (trajectory(length, tag, task) for tag, (length, task) in enumerate(EPISODES))
    write_lerobot(folder, episodes, 16, Robot("sawyer", ["x", "y"], ["dx", "dy", "grip"]), CAMERA)
    return folder


def test_our_reader_reads_it_frame_for_frame(written: Path) -> None:
    source = open_source(str(written))
    found = list(source.recordings([CAMERA]))
    assert len(found) == 3
    for tag, (recording, (length, task)) in enumerate(zip(found, EPISODES, strict=True)):
        assert isinstance(recording, Episode)
        assert (recording.frames, recording.fps, recording.task) == (length, 16, task)
        assert read_back(read_clip(whole(recording.footage.video, length))) == [(tag, t) for t in range(length)]
        _, states_TS, actions_TA, _ = trajectory(length, tag)
        assert np.array_equal(recording.states, states_TS)  # type: ignore[arg-type]
        assert np.array_equal(recording.actions, actions_TA)  # type: ignore[arg-type]
    assert source.problems() == []


def test_the_data_columns_count_as_lerobot_counts(written: Path) -> None:
    rows: dict[str, list[Any]] = {}
    for path in sorted((written / "data").glob("*/*.parquet")):
        for name, values in pq.read_table(path).to_pydict().items():
            rows.setdefault(name, []).extend(values)
    assert rows["index"] == list(range(35))
    assert rows["frame_index"] == list(chain(*(range(length) for length, _ in EPISODES)))
    assert rows["episode_index"] == [e for e, (length, _) in enumerate(EPISODES) for _ in range(length)]
    assert rows["task_index"] == [int(task == "open the drawer") for length, task in EPISODES for _ in range(length)]
    assert np.allclose(rows["timestamp"], np.array(rows["frame_index"]) / 16)
    types = {field.name: str(field.type) for field in pq.read_schema(written / "data/chunk-000/file-001.parquet")}
    assert types == {
        "observation.state": "fixed_size_list<element: float>[2]",
        "action": "fixed_size_list<element: float>[3]",
        "timestamp": "float",
        **dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64"),
    }


def test_the_episode_list_points_at_files_and_rows(written: Path) -> None:
    records = pq.read_table(written / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    first = 0
    for e, (record, (length, task)) in enumerate(zip(records, EPISODES, strict=True)):
        assert (record["episode_index"], record["length"], record["tasks"]) == (e, length, [task])
        assert (record["data/chunk_index"], record["data/file_index"]) == (0, e)
        assert (record[f"videos/{CAMERA}/chunk_index"], record[f"videos/{CAMERA}/file_index"]) == (0, e)
        assert (record[f"videos/{CAMERA}/from_timestamp"], record[f"videos/{CAMERA}/to_timestamp"]) == (0, length / 16)
        assert (record["dataset_from_index"], record["dataset_to_index"]) == (first, first + length)
        assert record["stats/action/mean"] == [e, e, e]
        assert record[f"stats/{CAMERA}/count"] == [length]
        first += length


def test_info_and_tasks(written: Path) -> None:
    info = json.loads((written / "meta/info.json").read_text())
    assert (info["codebase_version"], info["robot_type"], info["fps"]) == ("v3.0", "sawyer", 16)
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 35, 2)
    assert info["splits"] == {"train": "0:3"}
    assert info["features"]["action"] == {"dtype": "float32", "shape": [3], "names": ["dx", "dy", "grip"]}
    assert info["features"][CAMERA]["shape"] == [64, 64, 3]
    assert info["features"][CAMERA]["info"]["video.codec"] == "h264"
    pandas = pytest.importorskip("pandas")
    tasks = pandas.read_parquet(written / "meta/tasks.parquet")
    assert tasks.index.tolist() == ["lift the cup", "open the drawer"]
    assert tasks.task_index.tolist() == [0, 1]


def test_statistics_are_those_of_all_frames(written: Path) -> None:
    stats = json.loads((written / "meta/stats.json").read_text())
    states = np.concatenate([trajectory(length)[1] for length, _ in EPISODES])
    assert stats["observation.state"]["q50"] == np.quantile(states, 0.5, axis=0).tolist()
    assert stats["observation.state"]["std"] == pytest.approx(states.std(0))
    frames = np.concatenate([trajectory(length, tag)[0] for tag, (length, _) in enumerate(EPISODES)]) / 255
    assert np.allclose(stats[CAMERA]["mean"], frames.mean((0, 1, 2)).reshape(3, 1, 1))
    assert np.allclose(stats[CAMERA]["std"], frames.std((0, 1, 2)).reshape(3, 1, 1))
    assert np.shape(stats[CAMERA]["q99"]) == (3, 1, 1)
    assert stats[CAMERA]["count"] == [35]


def test_one_dimensional_state_is_a_plain_column(tmp_path: Path) -> None:
    frames_THWC, states_TS, actions_TA, task = trajectory(4)
    write_lerobot(tmp_path / "d", [(frames_THWC, states_TS[:, :1], actions_TA, task)], 10, Robot("arm"), CAMERA)
    assert (
        str(pq.read_schema(tmp_path / "d/data/chunk-000/file-000.parquet").field("observation.state").type) == "float"
    )
    (recording,) = open_source(str(tmp_path / "d")).recordings([CAMERA])
    assert isinstance(recording, Episode)
    assert recording.states is not None
    assert recording.states.shape == (4, 1)


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def episodes() -> Any:
        yield trajectory(4)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_lerobot(tmp_path / "d", episodes(), 16, Robot("arm"), CAMERA)
    assert list(tmp_path.iterdir()) == []


def test_only_an_older_dataset_is_replaced(tmp_path: Path) -> None:
    for length in (4, 6):
        write_lerobot(tmp_path / "d", [trajectory(length)], 16, Robot("arm"), CAMERA)
    assert json.loads((tmp_path / "d/meta/info.json").read_text())["total_frames"] == 6
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match="exists and is not a dataset"):
        write_lerobot(tmp_path / "mine", [trajectory(4)], 16, Robot("arm"), CAMERA)


FRAMES, STATES, ACTIONS, TASK = trajectory(4)


@pytest.mark.parametrize(
    ("episodes", "message"),
    [
        ([], "no episodes"),
        ([(FRAMES, STATES[:3], ACTIONS, TASK)], "shapes do not fit"),
        ([(FRAMES, STATES, ACTIONS[:, 0], TASK)], "shapes do not fit"),
        ([(FRAMES, STATES, ACTIONS, TASK), (FRAMES, STATES, ACTIONS[:, :2], TASK)], "sizes .* differ"),
        ([(FRAMES, STATES, ACTIONS, TASK), (FRAMES[:, :32], STATES, ACTIONS, TASK)], "sizes .* differ"),
        ([(FRAMES, STATES, ACTIONS, " ")], "task text is empty"),
        ([(FRAMES, STATES * np.nan, ACTIONS, TASK)], "not finite"),
        ([(FRAMES[:, :33], STATES, ACTIONS, TASK)], "even sides"),
    ],
)
def test_episodes_that_do_not_fit_are_errors(tmp_path: Path, episodes: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_lerobot(tmp_path / "d", episodes, 16, Robot("arm"), CAMERA)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("version", "end", "message"),
    [("v3.0", 1, "version 3.0 has no modality.json"), ("v2.1", 99, "the group arm of state is not within its")],
)
def test_groups_that_cannot_be_written_are_errors(tmp_path: Path, version: Any, end: int, message: str) -> None:
    rows = np.zeros((2, 3), np.float32)
    episodes = [(np.zeros((2, 64, 64, 3), np.uint8), rows, rows, "t")]
    with pytest.raises(DataError, match=message):
        write_lerobot(
            tmp_path / "d", episodes, 16, Robot("arm"), "cam", version=version, groups={"state": {"arm": (0, end)}}
        )
    assert not (tmp_path / "d").exists()


def test_names_must_match_dimensions(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 names for 2 dimensions"):
        write_lerobot(tmp_path / "d", [trajectory(4)], 16, Robot("arm", ["x"]), CAMERA)


CAMERAS = [CAMERA, "observation.images.wrist"]


@pytest.fixture
def written_v2(tmp_path: Path) -> Path:
    """Write version 2.1 with two cameras; the second camera's tag is ten higher."""

    def episodes() -> Iterator[EpisodeData]:
        for tag, (length, task) in enumerate(EPISODES):
            _, states_TS, actions_TA, _ = trajectory(length, tag, task)
            yield {CAMERAS[0]: film(length, tag), CAMERAS[1]: film(length, 10 + tag)}, states_TS, actions_TA, task

    parts: Groups = {"action": {"arm": (0, 2), "gripper": (2, 3)}}
    write_lerobot(tmp_path / "v2", episodes(), 16, Robot("sawyer"), CAMERAS, version="v2.1", groups=parts)
    return tmp_path / "v2"


def test_version_2_1_is_read_frame_for_frame_in_every_camera(written_v2: Path) -> None:
    source = open_source(str(written_v2))
    assert (source.kind, source.cameras, source.problems()) == ("LeRobot v2.1", CAMERAS, [])
    found = list(source.recordings(CAMERAS))
    assert len(found) == 6
    for number, recording in enumerate(found):
        assert isinstance(recording, Episode)
        (tag, side), (length, task) = divmod(number, 2), EPISODES[number // 2]
        assert (recording.frames, recording.task, recording.camera) == (length, task, CAMERAS[side])
        clip = replace(whole(Path(), length), footage=recording.footage)
        assert read_back(read_clip(clip)) == [(10 * side + tag, t) for t in range(length)]
        assert np.array_equal(recording.actions, trajectory(length, tag)[2])  # type: ignore[arg-type]


def test_version_2_1_has_the_layout_of_lerobot_and_gr00t(written_v2: Path) -> None:
    meta, info = written_v2 / "meta", json.loads((written_v2 / "meta/info.json").read_text())
    assert (info["codebase_version"], info["total_videos"], info["total_chunks"]) == ("v2.1", 6, 1)
    for e, (length, task) in enumerate(EPISODES):
        at = {"episode_chunk": 0, "episode_index": e}
        assert pq.read_table(written_v2 / info["data_path"].format(**at)).num_rows == length
        assert all((written_v2 / info["video_path"].format(video_key=camera, **at)).is_file() for camera in CAMERAS)
        line = json.loads((meta / "episodes.jsonl").read_text().splitlines()[e])
        assert line == {"episode_index": e, "tasks": [task], "length": length}
        statistics = json.loads((meta / "episodes_stats.jsonl").read_text().splitlines()[e])
        assert statistics["stats"]["action"]["mean"] == [e, e, e]
        assert set(statistics["stats"]["action"]) == {"min", "max", "mean", "std", "count"}
        assert np.shape(statistics["stats"][CAMERA]["mean"]) == (3, 1, 1)
    tasks = [json.loads(line) for line in (meta / "tasks.jsonl").read_text().splitlines()]
    assert tasks == [{"task_index": 0, "task": "lift the cup"}, {"task_index": 1, "task": "open the drawer"}]
    assert json.loads((meta / "modality.json").read_text()) == {
        "state": {"state": {"start": 0, "end": 2}},
        "action": {"arm": {"start": 0, "end": 2}, "gripper": {"start": 2, "end": 3}},
        "video": {"scene": {"original_key": CAMERAS[0]}, "wrist": {"original_key": CAMERAS[1]}},
        "annotation": {"human.task_description": {"original_key": "task_index"}},
    }
    assert {"q01", "q99"} <= set(json.loads((meta / "stats.json").read_text())["action"])


def test_episode_with_other_cameras_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"its cameras are wrist, not observation\.images\.scene"):
        write_lerobot(tmp_path / "d", [({"wrist": FRAMES}, STATES, ACTIONS, TASK)], 16, Robot("arm"), CAMERA)
