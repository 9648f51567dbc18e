import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from worldtune.data.clip import read_clip
from worldtune.data.episode import Episode, SkippedRecording
from worldtune.data.sources import choose_cameras, open_source
from worldtune.data.video.decode import write_video
from worldtune.errors import DataError

from ...videos import edit_info, film, read_back, truncate, whole, write_tasks, write_v2

LENGTHS = (6, 9, 4)
VIDEO = "videos/chunk-000/{}/episode_{:06d}.mp4"


def skipped(root: Path, *cameras: str) -> list[tuple[str, str]]:
    return [(r.name, r.reason) for r in open_source(str(root)).recordings(cameras) if isinstance(r, SkippedRecording)]


def reported(root: Path) -> list[tuple[str, str, str]]:
    return [(problem.level, problem.where, problem.what) for problem in open_source(str(root)).problems()]


def test_every_episode_has_its_own_files(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "d", LENGTHS, ("left", "right"))
    source = open_source(str(root))
    assert (source.kind, source.cameras, source.tasks) == ("LeRobot v2.1", ["left", "right"], ["task 0", "task 1"])
    found = list(source.recordings(["right"]))
    assert len(found) == 3
    for e, recording in enumerate(found):
        assert isinstance(recording, Episode)
        assert recording.states is not None
        assert (recording.task, recording.frames, len(recording.states)) == (f"task {e % 2}", LENGTHS[e], LENGTHS[e])
        shown = read_back(read_clip(whole(recording.footage.video, LENGTHS[e])))
        assert shown == [(10 + e, t) for t in range(LENGTHS[e])]
    assert source.problems() == []


def test_episodes_that_cannot_be_used_have_their_reasons(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "d", LENGTHS)
    (root / VIDEO.format("cam", 0)).unlink()
    truncate(root / VIDEO.format("cam", 1))
    write_video(root / VIDEO.format("cam", 2), film(3), 16)
    (_, missing), (_, truncated), (_, short) = skipped(root, "cam")
    assert missing == "the video file is missing (videos/chunk-000/cam/episode_000000.mp4)"
    assert truncated.startswith("the video is cut short (")
    assert short == "fewer frames than the metadata states (3 of 4)"
    assert ("warning", "episode 000002", "cam: 3 frames decode, but the length is 4") in reported(root)


def test_extra_frames_are_reported_and_not_used(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "d", LENGTHS)
    write_video(root / VIDEO.format("cam", 2), film(8), 16)
    *_, last = open_source(str(root)).recordings(["cam"])
    assert last.frames == 4
    assert reported(root) == [("warning", "episode 000002", "cam: 8 frames decode, but the length is 4")]


def test_camera_without_files_is_reported(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "d", LENGTHS)
    features = json.loads((root / "meta/info.json").read_text())["features"]
    edit_info(root, features=features | {"camera": features["cam"]})
    assert skipped(root, "cam", "camera") == [(f"{e:06d}", "camera in info.json but not on disk") for e in range(3)]
    sought = "no videos/chunk-000/camera/episode_000000.mp4"
    assert reported(root) == [("warning", "info.json", f"camera camera is not on disk ({sought})")]
    with pytest.raises(DataError, match=r"no camera camera.*Did you mean cam\? Available cameras: cam\."):
        choose_cameras(open_source(str(root)), ["camera"])


def test_contradicting_metadata_is_a_warning(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "d", LENGTHS)
    (root / "videos/chunk-000/other").mkdir()
    features = json.loads((root / "meta/info.json").read_text())["features"]
    features["cam"]["shape"] = [480, 640, 3]
    features["snap"] = {"dtype": "image", "shape": [4, 4, 3]}
    splits = {"train": "0:3", "val": "3:100", "test": "some"}
    edit_info(root, features=features, splits=splits, total_episodes=30, total_frames=1, total_videos=2, total_tasks=9)
    write_tasks(root, ["task 0", "valid", "lift"])
    assert reported(root) == [
        ("warning", "info.json", "total_episodes is 30, but there are 3"),
        ("warning", "info.json", "total_frames is 1, but there are 19"),
        ("warning", "info.json", "total_tasks is 9, but there are 3"),
        ("warning", "info.json", "total_videos is 2, but there are 3"),
        ("warning", "info.json", "split val is 3:100, but there are 3 episodes"),
        ("warning", "info.json", "split test is 'some', not a range of episodes"),
        ("warning", "videos/other", "on disk, but not in info.json"),
        ("warning", "tasks.jsonl", "task 1 is 'valid': a flag, not a task"),
        ("warning", "tasks.jsonl", "no episode has task 2, 'lift'"),
        ("warning", "episode 000001", "its task 'task 1' is not in tasks.jsonl"),
        *(("warning", f"episode {e:06d}", "cam: 64×64 pixels, but info.json states [480, 640, 3]") for e in range(3)),
    ]


def test_rows_that_do_not_match_are_errors(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "d", LENGTHS)
    short, ragged, missing = (root / f"data/chunk-000/episode_{e:06d}.parquet" for e in range(3))
    pq.write_table(pq.read_table(short).slice(1), short)
    states = pa.array([[0.0, float("nan")]] * 9, pa.list_(pa.float32()))
    pq.write_table(pq.read_table(ragged).set_column(0, "observation.state", states), ragged)
    missing.unlink()
    assert reported(root) == [
        ("error", "episode 000000", "5 rows of states and actions, but the length is 6"),
        ("warning", "episode 000000", "its frame_index counts from 1, not from 0"),
        ("warning", "episode 000001", "states contain NaN or infinity"),
        ("error", "episode 000002", "its data file is missing (data/chunk-000/episode_000002.parquet)"),
    ]
    *_, last = open_source(str(root)).recordings(["cam"])
    assert isinstance(last, Episode)
    assert (last.states, last.actions, last.note) == (None, None, "no data rows")


def groot(root: Path, annotation: dict[str, Any], column: str) -> None:
    """Turn a dataset into GR00T's flavor: each episode's first task is "valid", and `column` gives the text."""
    write_tasks(root, ["valid", "pick the pear", "pick the plum", "task 0", "task 1"])
    (root / "meta/modality.json").write_text(json.dumps({"state": {}, "annotation": annotation}))
    lines = [json.loads(line) for line in (root / "meta/episodes.jsonl").read_text().splitlines()]
    for e, record in enumerate(lines):
        text = ("pick the pear", "pick the plum")[e % 2]
        record["tasks"] = ["valid", "task 0", text]
        path = root / f"data/chunk-000/episode_{e:06d}.parquet"
        table = pq.read_table(path)
        for name, value in ((column, 1 + e % 2), ("annotation.human.validity", 0)):
            table = table.append_column(name, pa.array([value] * len(table)))
        pq.write_table(table, path)
    (root / "meta/episodes.jsonl").write_text("\n".join(map(json.dumps, lines)))


@pytest.mark.parametrize(
    ("entry", "column"),
    [({}, "annotation.human.action.task_description"), ({"original_key": "told"}, "told")],
)
def test_the_task_of_a_groot_dataset_is_its_description(tmp_path: Path, entry: dict[str, str], column: str) -> None:
    root = write_v2(tmp_path / "d", LENGTHS)
    groot(root, {"human.validity": {}, "human.action.task_description": entry}, column)
    source = open_source(str(root))
    assert [r.task for r in source.recordings(["cam"])] == ["pick the pear", "pick the plum", "pick the pear"]
    assert source.tasks == ["pick the pear", "pick the plum"]


def test_flags_are_not_tasks_and_two_texts_are_reported(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "d", (4,))
    records = [{"episode_index": 0, "tasks": ["Valid", "task 0", "task 1"], "length": 4}]
    (root / "meta/episodes.jsonl").write_text("\n".join(map(json.dumps, records)))
    (recording,) = open_source(str(root)).recordings(["cam"])
    assert isinstance(recording, Episode)
    assert (recording.task, recording.note) == ("task 0", "")  # from its rows
    message = "its list of tasks is ['task 0', 'task 1'], but its rows have ['task 0']: the rows are used"
    assert ("warning", "episode 000000", message) in reported(root)
    path = root / "data/chunk-000/episode_000000.parquet"
    pq.write_table(pq.read_table(path).drop_columns("task_index"), path)
    (recording,) = open_source(str(root)).recordings(["cam"])
    assert isinstance(recording, Episode)
    assert (recording.task, recording.note) == ("", "no row says which of its 2 task texts applies")
    records[0]["tasks"] = ["valid"]
    (root / "meta/episodes.jsonl").write_text("\n".join(map(json.dumps, records)))
    (recording,) = open_source(str(root)).recordings(["cam"])
    assert recording.task == ""
    assert ("warning", "episode 000000", "no task text") in reported(root)


def test_broken_line_and_a_missing_key_are_named(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "d", (4,))
    (root / "meta/episodes.jsonl").write_text('{"episode_index": 0}\n')
    with pytest.raises(DataError, match=r"no 'length'.*episodes\.jsonl"):
        open_source(str(root))
    (root / "meta/episodes.jsonl").write_text('{"episode_index": 0\n')
    with pytest.raises(DataError, match=r"not JSON.*episodes\.jsonl"):
        open_source(str(root))
    edit_info(root, fps=0)
    with pytest.raises(DataError, match="fps is 0"):
        open_source(str(root))


def test_episode_listed_twice_is_an_error(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "d", (7, 9))
    path = root / "meta" / "episodes.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError, match="episode 0 is listed twice"):
        open_source(str(root))
