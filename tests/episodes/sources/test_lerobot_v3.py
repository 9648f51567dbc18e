import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from worldtune.episodes.clip import read_clip
from worldtune.episodes.dataset import take_stock
from worldtune.episodes.episode import Episode, Lost
from worldtune.episodes.sources import choose_cameras, open_source
from worldtune.episodes.spec import DataSpec
from worldtune.errors import DataError

from ..films import edit_info, read_back, truncate, whole, write_packed_v3

LENGTHS = (7, 12, 9, 5)
LAYOUT = {"front": [[0, 1, 2, 3]], "wrist": [[2], [0, 3], [1]]}  # the wrist's files follow no order of the data


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return write_packed_v3(tmp_path / "packed", LENGTHS, LAYOUT)


def test_each_camera_has_its_own_files_and_offsets(packed: Path) -> None:
    source = open_source(str(packed))
    assert (source.kind, source.cameras, source.present) == ("LeRobot v3.0", ["front", "wrist"], ["front", "wrist"])
    found = list(source.recordings(source.cameras))
    assert [(r.name, r.camera) for r in found] == [(f"{e:06d}", c) for e in range(4) for c in ("front", "wrist")]
    for recording in found:
        assert isinstance(recording, Episode)
        episode, camera = int(recording.name), source.cameras.index(recording.camera)
        assert recording.frames == LENGTHS[episode]
        clip = whole(recording.footage.video, recording.frames, recording.footage.start)
        assert read_back(read_clip(clip)) == [(10 * camera + episode, t) for t in range(LENGTHS[episode])]
    assert source.problems() == []


def test_states_actions_and_tasks_belong_to_the_episode(packed: Path) -> None:
    for recording in open_source(str(packed)).recordings(["wrist"]):
        assert isinstance(recording, Episode)
        assert recording.states is not None
        assert recording.actions is not None
        episode = int(recording.name)
        assert recording.task == recording.caption == f"task {episode % 2}"
        assert recording.states.dtype == np.float32
        assert recording.states[:, 0].tolist() == list(range(LENGTHS[episode]))
        assert recording.actions.tolist() == [[episode]] * LENGTHS[episode]


@pytest.mark.parametrize("fps", [10, 24, 30])
def test_every_rate_finds_the_right_frames(tmp_path: Path, fps: int) -> None:
    root = write_packed_v3(tmp_path / "d", (23, 31, 17), {"front": [[0, 1, 2]]}, fps=fps)
    starts = [recording.footage.start for recording in open_source(str(root)).recordings(["front"])]  # type: ignore[union-attr]
    assert starts == [0, 23, 54]


def test_drifting_timestamps_are_an_error_of_that_camera(tmp_path: Path) -> None:
    root = write_packed_v3(
        tmp_path / "d", LENGTHS, {"front": [[0, 1, 2, 3]], "wrist": [[0], [1], [2], [3]]}, shift=-0.2
    )
    problems = open_source(str(root)).problems()
    assert {(problem.level, problem.camera) for problem in problems} == {("error", "front")}
    assert "front: begins at frame 4 of file-000.mp4, where another lasts until 7" in [p.what for p in problems]


def test_an_episode_behind_the_end_of_its_video_is_lost(tmp_path: Path) -> None:
    root = write_packed_v3(tmp_path / "d", LENGTHS, {"front": [[0, 1, 2, 3]]}, shift=0.5)
    *_, last = open_source(str(root)).recordings(["front"])
    assert isinstance(last, Lost)
    assert last.reason == "fewer frames than the metadata promise (0 of 5)"


def test_a_truncated_file_loses_its_episodes_only(packed: Path) -> None:
    truncate(packed / "videos/wrist/chunk-001/file-001.mp4")
    found = list(open_source(str(packed)).recordings(["front", "wrist"]))
    assert [(r.name, r.camera) for r in found if isinstance(r, Lost)] == [("000000", "wrist"), ("000003", "wrist")]


def test_a_missing_file_is_lost_with_its_reason(packed: Path) -> None:
    (packed / "videos/wrist/chunk-000/file-000.mp4").unlink()
    lost = [r for r in open_source(str(packed)).recordings(["wrist"]) if isinstance(r, Lost)]
    assert [(r.name, r.frames, r.reason) for r in lost] == [("000002", 9, "the video file is missing")]


def test_a_video_of_another_rate_is_lost(packed: Path) -> None:
    edit_info(packed, fps=20)
    source = open_source(str(packed))
    reasons = {r.reason for r in source.recordings(["front"]) if isinstance(r, Lost)}
    assert reasons == {"the video's frame rate is not the dataset's (16, not 20 fps)"}


def test_rows_that_do_not_match_the_length_are_an_error(packed: Path) -> None:
    path = packed / "data/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(path).slice(2), path)
    problems = open_source(str(packed)).problems()
    assert [(p.level, p.where, p.what) for p in problems] == [
        ("error", "episode 000000", "5 rows of states and actions, the length is 7")
    ]


def test_a_depth_map_is_no_picture(packed: Path) -> None:
    source = open_source(str(packed))
    features = source.info["features"]  # type: ignore[attr-defined]
    features["wrist"]["info"] = {"is_depth_map": True}
    edit_info(packed, features=features)
    found = list(open_source(str(packed)).recordings(["wrist"]))
    assert {r.reason for r in found if isinstance(r, Lost)} == {"a depth map, not a picture"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("meta/tasks.parquet", r"missing.*tasks\.parquet"),
        ("meta/episodes/chunk-000/file-000.parquet", "no episodes are listed"),
    ],
)
def test_missing_metadata_are_named(packed: Path, damage: str, message: str) -> None:
    (packed / damage).unlink()
    with pytest.raises(DataError, match=message):
        open_source(str(packed))


def test_damaged_metadata_are_named(packed: Path) -> None:
    (packed / "meta/episodes/chunk-000/file-000.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="not a readable parquet file"):
        open_source(str(packed))
    (packed / "meta/info.json").write_text("{")
    with pytest.raises(DataError, match=r"not JSON.*info\.json"):
        open_source(str(packed))


@pytest.mark.parametrize("version", ["v1.6", "v4.0", "3.0"])
def test_other_versions_are_refused(packed: Path, version: str) -> None:
    edit_info(packed, codebase_version=version)
    with pytest.raises(DataError, match="cannot be read"):
        open_source(str(packed))


def test_a_dataset_without_video_is_refused(packed: Path) -> None:
    edit_info(packed, features={"observation.state": {"dtype": "float32"}})
    with pytest.raises(DataError, match="no video features"):
        open_source(str(packed))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fps": "fast"}, "fps is 'fast'"),
        ({"fps": 0}, "fps is 0"),
        ({"features": ["front"]}, "features is no mapping"),
        ({"features": {"front": "video"}}, "features is no mapping"),
    ],
)
def test_metadata_of_another_shape_are_refused(packed: Path, change: dict[str, object], says: str) -> None:
    edit_info(packed, **change)
    with pytest.raises(DataError, match=says):
        open_source(str(packed))


@pytest.mark.parametrize("annotation", [[], ["task"], {"human.task_description": "told"}])
def test_annotations_of_another_shape_are_refused(packed: Path, annotation: object) -> None:
    (packed / "meta/modality.json").write_text(json.dumps({"annotation": annotation}))
    with pytest.raises(DataError, match="annotation is no mapping"):
        open_source(str(packed))


def test_data_without_episode_numbers_are_refused(packed: Path) -> None:
    (path,) = (packed / "data").rglob("*.parquet")
    pq.write_table(pq.read_table(path).drop_columns("episode_index"), path)
    found = list(open_source(str(packed)).recordings(["front"]))
    assert all(isinstance(one, Lost) and one.reason == "there is no column episode_index" for one in found)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"splits": None}, "splits is None, not a mapping"),
        ({"data_path": None}, "data_path is None, not a text"),
        ({"video_path": 7}, "video_path is 7, not a text"),
    ],
)
def test_info_of_another_kind_is_one_line(packed: Path, changes: dict[str, object], says: str) -> None:
    edit_info(packed, **changes)
    with pytest.raises(DataError, match=says):
        open_source(str(packed))


def test_info_that_is_no_text_is_one_line(packed: Path) -> None:
    (packed / "meta" / "info.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(DataError, match=r"not UTF-8 text.*info\.json"):
        open_source(str(packed))


def test_a_shape_that_is_none_is_a_problem(packed: Path) -> None:
    info = json.loads((packed / "meta" / "info.json").read_text())
    info["features"]["front"]["shape"] = None
    edit_info(packed, features=info["features"])
    assert any("info.json says None" in problem.what for problem in open_source(str(packed)).problems())


def test_a_camera_named_twice_does_not_count_double(packed: Path) -> None:
    with pytest.raises(DataError, match="named twice"):
        choose_cameras(open_source(str(packed)), ["front", "front"])


DATA = "data/chunk-000/file-000.parquet"


def with_column(root: Path, name: str, values: list[float]) -> None:
    table = pq.read_table(root / DATA)
    if name in table.column_names:
        table = table.drop_columns(name)
    pq.write_table(table.append_column(name, pa.array(values)), root / DATA)


def test_rows_out_of_order_are_refused(packed: Path) -> None:
    table = pq.read_table(packed / DATA)
    order = [*range(LENGTHS[0]), *reversed(range(LENGTHS[0], sum(LENGTHS)))]
    pq.write_table(table.take(pa.array(order)), packed / DATA)
    first, *others = open_source(str(packed)).recordings(["front"])
    assert isinstance(first, Episode)
    assert {one.reason for one in others if isinstance(one, Lost)} == {
        "its rows are not in order: frame_index does not count from 0"
    }
    assert len(others) == len(LENGTHS) - 1


def test_no_clip_goes_over_a_gap_of_the_rows_times(packed: Path) -> None:
    times = [t / 16 + (3 if t >= 4 else 0) for length in LENGTHS for t in range(length)]
    with_column(packed, "timestamp", times)
    source = open_source(str(packed))
    for one in source.recordings(["front"]):
        assert isinstance(one, Episode)
        assert one.jumps == ((3, pytest.approx(3 + 1 / 16)),)
    assert "its time stamps are up to 48 frames off frame_index/fps" in [problem.what for problem in source.problems()]


@pytest.mark.parametrize(("late", "level"), [(1, "error"), (30, "warning")])
def test_a_recording_that_begins_late_is_said(packed: Path, late: int, level: str) -> None:
    root = write_packed_v3(packed.parent / "late", LENGTHS, {"front": [[0, 1, 2, 3]]}, shift=late / 16)
    said = {(problem.level, problem.what) for problem in open_source(str(root)).problems()}
    assert (level, f"front: begins {late} frames after the recording before it in file-000.mp4 ends") in said


def test_a_value_that_is_not_finite_costs_its_clip_alone(packed: Path) -> None:
    table = pq.read_table(packed / DATA)
    values = table.column("action").to_pylist()
    values[LENGTHS[0] + 1] = float("nan")
    pq.write_table(table.drop_columns("action").append_column("action", pa.array(values)), packed / DATA)
    spec = DataSpec(path=str(packed), frames=5, fps=16, height=64, width=64, cameras=["front"], max_loss=0.3)
    dataset = take_stock(spec)
    assert not dataset.faults
    assert ("000001", 0) not in {(clip.episode, clip.picks[0]) for clip in dataset.train}
    assert {clip.episode for clip in dataset.train} == {"000000", "000001", "000002", "000003"}
