import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from worldtune.data.clip import read_clip
from worldtune.data.dataset import build_dataset
from worldtune.data.episode import Episode, SkippedRecording
from worldtune.data.sources import choose_cameras, open_source
from worldtune.data.spec import DataSpec
from worldtune.errors import DataError

from ...videos import edit_info, read_back, truncate, whole, write_packed_v3

LENGTHS = (7, 12, 9, 5)
LAYOUT = {"front": [[0, 1, 2, 3]], "wrist": [[2], [0, 3], [1]]}  # the wrist's files are not in the order of the data


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return write_packed_v3(tmp_path / "packed", LENGTHS, LAYOUT)


def test_each_camera_has_its_own_files_and_offsets(packed: Path) -> None:
    source = open_source(str(packed))
    assert (source.kind, source.cameras, source.available_cameras) == (
        "LeRobot v3.0",
        ["front", "wrist"],
        ["front", "wrist"],
    )
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
    assert "front: begins at frame 4 of file-000.mp4, but another recording lasts until 7" in [p.what for p in problems]


def test_episode_after_the_end_of_its_video_is_skipped(tmp_path: Path) -> None:
    root = write_packed_v3(tmp_path / "d", LENGTHS, {"front": [[0, 1, 2, 3]]}, shift=0.5)
    *_, last = open_source(str(root)).recordings(["front"])
    assert isinstance(last, SkippedRecording)
    assert last.reason == "fewer frames than the metadata states (0 of 5)"


def test_truncated_file_skips_only_its_episodes(packed: Path) -> None:
    truncate(packed / "videos/wrist/chunk-001/file-001.mp4")
    found = list(open_source(str(packed)).recordings(["front", "wrist"]))
    assert [(r.name, r.camera) for r in found if isinstance(r, SkippedRecording)] == [
        ("000000", "wrist"),
        ("000003", "wrist"),
    ]


def test_missing_video_skips_its_recording(packed: Path) -> None:
    (packed / "videos/wrist/chunk-000/file-000.mp4").unlink()
    skipped = [r for r in open_source(str(packed)).recordings(["wrist"]) if isinstance(r, SkippedRecording)]
    assert [(r.name, r.frames, r.reason) for r in skipped] == [
        ("000002", 9, "the video file is missing (videos/wrist/chunk-000/file-000.mp4)")
    ]


def test_video_with_another_rate_is_skipped(packed: Path) -> None:
    edit_info(packed, fps=20)
    source = open_source(str(packed))
    reasons = {r.reason for r in source.recordings(["front"]) if isinstance(r, SkippedRecording)}
    assert reasons == {"the video's frame rate is not the dataset's (16, not 20 fps)"}


def test_rows_that_do_not_match_the_length_are_an_error(packed: Path) -> None:
    path = packed / "data/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(path).slice(2), path)
    problems = open_source(str(packed)).problems()
    assert [(p.level, p.where, p.what) for p in problems] == [
        ("error", "episode 000000", "5 rows of states and actions, but the length is 7"),
        ("warning", "episode 000000", "its frame_index counts from 2, not from 0"),
    ]


def test_depth_map_is_skipped(packed: Path) -> None:
    source = open_source(str(packed))
    features = source.info["features"]  # type: ignore[attr-defined]
    features["wrist"]["info"] = {"is_depth_map": True}
    edit_info(packed, features=features)
    found = list(open_source(str(packed)).recordings(["wrist"]))
    assert {r.reason for r in found if isinstance(r, SkippedRecording)} == {"a depth map, not a picture"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("meta/tasks.parquet", r"missing.*tasks\.parquet"),
        ("meta/episodes/chunk-000/file-000.parquet", "no episodes are listed"),
    ],
)
def test_missing_metadata_is_an_error(packed: Path, damage: str, message: str) -> None:
    (packed / damage).unlink()
    with pytest.raises(DataError, match=message):
        open_source(str(packed))


def test_damaged_metadata_is_an_error(packed: Path) -> None:
    (packed / "meta/episodes/chunk-000/file-000.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="not a readable parquet file"):
        open_source(str(packed))
    (packed / "meta/info.json").write_text("{")
    with pytest.raises(DataError, match=r"not JSON.*info\.json"):
        open_source(str(packed))


@pytest.mark.parametrize("version", ["v1.6", "v4.0", "3.0"])
def test_other_versions_are_errors(packed: Path, version: str) -> None:
    edit_info(packed, codebase_version=version)
    with pytest.raises(DataError, match="cannot be read"):
        open_source(str(packed))


def test_dataset_without_video_is_an_error(packed: Path) -> None:
    edit_info(packed, features={"observation.state": {"dtype": "float32"}})
    with pytest.raises(DataError, match="no feature is of dtype video or image"):
        open_source(str(packed))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fps": "fast"}, "fps is 'fast'"),
        ({"fps": 0}, "fps is 0"),
        ({"features": ["front"]}, "features is not a mapping"),
        ({"features": {"front": "video"}}, "features is not a mapping"),
    ],
)
def test_malformed_metadata_is_an_error(packed: Path, change: dict[str, object], message: str) -> None:
    edit_info(packed, **change)
    with pytest.raises(DataError, match=message):
        open_source(str(packed))


@pytest.mark.parametrize("annotation", [[], ["task"], {"human.task_description": "told"}])
def test_malformed_annotations_are_errors(packed: Path, annotation: object) -> None:
    (packed / "meta/modality.json").write_text(json.dumps({"annotation": annotation}))
    with pytest.raises(DataError, match="annotation is not a mapping"):
        open_source(str(packed))


def test_data_without_episode_numbers_are_errors(packed: Path) -> None:
    (path,) = (packed / "data").rglob("*.parquet")
    pq.write_table(pq.read_table(path).drop_columns("episode_index"), path)
    found = list(open_source(str(packed)).recordings(["front"]))
    reason = "the column episode_index is missing"
    assert all(isinstance(recording, SkippedRecording) and recording.reason == reason for recording in found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"splits": None}, "splits is None, not a mapping"),
        ({"data_path": None}, "data_path is None, not a text"),
        ({"video_path": 7}, "video_path is 7, not a text"),
    ],
)
def test_info_with_wrong_types_is_a_one_line_error(packed: Path, changes: dict[str, object], message: str) -> None:
    edit_info(packed, **changes)
    with pytest.raises(DataError, match=message):
        open_source(str(packed))


def test_non_utf8_info_is_a_one_line_error(packed: Path) -> None:
    (packed / "meta" / "info.json").write_bytes(b"\xfa\xfb{}")
    with pytest.raises(DataError, match=r"not UTF-8 text.*info\.json"):
        open_source(str(packed))


def test_null_shape_is_a_problem(packed: Path) -> None:
    info = json.loads((packed / "meta" / "info.json").read_text())
    info["features"]["front"]["shape"] = None
    edit_info(packed, features=info["features"])
    text = "front: 64×64 pixels, but info.json states None"
    assert [problem.what for problem in open_source(str(packed)).problems()] == [text] * 4


def test_duplicate_camera_name_is_an_error(packed: Path) -> None:
    with pytest.raises(DataError, match="named twice"):
        choose_cameras(open_source(str(packed)), ["front", "front"])


DATA = "data/chunk-000/file-000.parquet"


def with_column(root: Path, name: str, values: list[float]) -> None:
    table = pq.read_table(root / DATA)
    if name in table.column_names:
        table = table.drop_columns(name)
    pq.write_table(table.append_column(name, pa.array(values)), root / DATA)


def test_rows_out_of_order_are_errors(packed: Path) -> None:
    table = pq.read_table(packed / DATA)
    order = [*range(LENGTHS[0]), *reversed(range(LENGTHS[0], sum(LENGTHS)))]
    pq.write_table(table.take(pa.array(order)), packed / DATA)
    first, *others = open_source(str(packed)).recordings(["front"])
    assert isinstance(first, Episode)
    assert {recording.reason for recording in others if isinstance(recording, SkippedRecording)} == {
        "its rows are not in order: frame_index does not count by one"
    }
    assert len(others) == len(LENGTHS) - 1


def test_no_clip_spans_a_gap_of_row_times(packed: Path) -> None:
    times = [t / 16 + (3 if t >= 4 else 0) for length in LENGTHS for t in range(length)]
    with_column(packed, "timestamp", times)
    source = open_source(str(packed))
    for recording in source.recordings(["front"]):
        assert isinstance(recording, Episode)
        assert recording.gaps == ((3, pytest.approx(3 + 1 / 16)),)
    assert "its timestamps are up to 48 frames off frame_index/fps" in [problem.what for problem in source.problems()]


@pytest.mark.parametrize(("late", "level"), [(1, "error"), (30, "warning")])
def test_late_recording_start_is_reported(packed: Path, late: int, level: str) -> None:
    root = write_packed_v3(packed.parent / "late", LENGTHS, {"front": [[0, 1, 2, 3]]}, shift=late / 16)
    message = {(problem.level, problem.what) for problem in open_source(str(root)).problems()}
    assert (level, f"front: begins {late} frames after the end of the recording before it in file-000.mp4") in message


def test_non_finite_value_rejects_only_its_clip(packed: Path) -> None:
    table = pq.read_table(packed / DATA)
    values = table.column("action").to_pylist()
    values[LENGTHS[0] + 1] = float("nan")
    pq.write_table(table.drop_columns("action").append_column("action", pa.array(values)), packed / DATA)
    spec = DataSpec(path=str(packed), frames=5, fps=16, height=64, width=64, cameras=["front"], max_skipped=0.3)
    dataset = build_dataset(spec)
    assert not dataset.faults
    assert ("000001", 0) not in {(clip.episode, clip.frame_indices[0]) for clip in dataset.train}
    assert {clip.episode for clip in dataset.train} == {"000000", "000001", "000002", "000003"}
