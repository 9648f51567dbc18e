import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from worldtune.data.dataset import Dataset, build_dataset
from worldtune.data.episode import Episode
from worldtune.data.ledger import TASK_NOT_REQUESTED, Row
from worldtune.data.sources import open_source
from worldtune.data.spec import DataSpec
from worldtune.errors import DataError

from ...tables import DATA, EPISODES, set_column
from ...videos import write_packed_v3, write_v2

A, B = "pick up the red block", "put the block into the box"
LENGTH, CHANGE = 48, 24


@pytest.fixture
def two_tasks(tmp_path: Path) -> Path:
    """Write two episodes that do B from frame 24 on. The episode list has the tasks in any order, as in lerobot."""
    root = write_packed_v3(tmp_path / "d", (LENGTH, LENGTH), {"front": [[0, 1]], "wrist": [[0], [1]]})
    set_column(root / DATA, "task_index", [int(t >= CHANGE) for _ in range(2) for t in range(LENGTH)])
    set_column(root / EPISODES, "tasks", [[A, B], [B, A]])
    pq.write_table(pa.table({"task_index": [0, 1], "task": [A, B]}), root / "meta/tasks.parquet")
    return root


def build(root: Path, **settings: object) -> Dataset:
    size = {"path": str(root), "frames": 21, "fps": 16, "height": 64, "width": 64, "cameras": ["front"]}
    return build_dataset(DataSpec.model_validate(size | settings))


def kept(root: Path, **settings: object) -> list[Row]:
    return [row for row in build(root, **settings).ledger.rows if row.kept]


def test_window_has_the_task_text_of_its_frames(two_tasks: Path) -> None:
    found = [(row.episode, row.first_frame, row.caption, row.task) for row in kept(two_tasks)]
    assert found == [(name, first, text, text) for name in ("000000", "000001") for first, text in ((0, A), (24, B))]
    assert {row.note for row in kept(two_tasks)} == {"part of an episode whose task changes"}


@pytest.mark.parametrize(
    "settings",
    [
        {"frames": 5, "stride": 3},
        {"frames": 7, "windows": "random", "draws": 9},
        {"frames": 9, "windows": "whole"},
        {"frames": 5, "fps": 10},
        {"frames": 5, "curate": {"trim": True}},
        {"frames": 5, "cameras": None, "tile": [["front", "wrist"]]},
    ],
)
def test_no_window_spans_two_tasks(two_tasks: Path, settings: dict[str, object]) -> None:
    train = build(two_tasks, **settings).train
    assert {clip.caption for clip in train} == {A, B}
    for clip in train:
        assert {pick >= CHANGE for pick in clip.frame_indices} == {clip.caption == B}


def test_part_with_unrequested_task_is_not_skipped(two_tasks: Path) -> None:
    dataset = build(two_tasks, tasks=[B], max_skipped=0)
    assert not dataset.faults
    assert {(clip.caption, clip.frame_indices[0]) for clip in dataset.train} == {(B, CHANGE)}
    assert {row.frames for row in dataset.ledger.rows if row.reason == TASK_NOT_REQUESTED} == {CHANGE}


def test_skipped_recording_counts_for_its_later_task(two_tasks: Path) -> None:
    (two_tasks / "videos/wrist/chunk-001/file-001.mp4").unlink()
    rows = build(two_tasks, cameras=["wrist"], tasks=[B]).ledger.rows
    assert [row.episode for row in rows if row.reason.startswith("the video file is missing")] == ["000001"]


def test_both_tasks_are_reported(two_tasks: Path) -> None:
    source = open_source(str(two_tasks))
    assert source.tasks == [A, B]
    assert source.problems() == []
    for episode in source.recordings(["front"]):
        assert isinstance(episode, Episode)
        assert (episode.task, episode.tasks, episode.parts) == (A, (A, B), ((0, A), (CHANGE, B)))


@pytest.mark.parametrize("tasks", [None, pa.nulls(2, pa.list_(pa.string())), [[], []], [["another"], ["another"]]])
def test_row_tasks_take_precedence(two_tasks: Path, tasks: list[list[str]] | None) -> None:
    """The official lerobot/libero has no such column (lerobot issue 4519)."""
    set_column(two_tasks / EPISODES, "tasks", tasks)
    assert [row.caption for row in kept(two_tasks)] == [A, B, A, B]


def test_version_2_needs_no_task_list(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "d", (6, 6))
    path = root / "meta/episodes.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("\n".join(json.dumps({key: r[key] for key in ("episode_index", "length")}) for r in records))
    assert [recording.task for recording in open_source(str(root)).recordings(["cam"])] == ["task 0", "task 1"]


@pytest.mark.parametrize("name", ["task", "__index_level_0__", "instruction"])
def test_the_text_is_a_column_or_the_index_of_the_tasks(two_tasks: Path, name: str) -> None:
    """Indices are looked up by value, even if the file has them in another order."""
    pq.write_table(pa.table({name: [B, A], "task_index": [1, 0]}), two_tasks / "meta/tasks.parquet")
    assert [row.caption for row in kept(two_tasks)] == [A, B, A, B]


def test_ambiguous_task_column_is_an_error(two_tasks: Path) -> None:
    table = pa.table({"long": [A, B], "short": ["a", "b"], "task_index": [0, 1]})
    pq.write_table(table, two_tasks / "meta/tasks.parquet")
    with pytest.raises(DataError, match="no column has the task texts"):
        open_source(str(two_tasks))


def test_float_task_indices_are_read_and_null_has_no_text(two_tasks: Path) -> None:
    indices = [float(t >= CHANGE) if t < 40 else None for t in range(LENGTH)] * 2
    set_column(two_tasks / DATA, "task_index", pa.array(indices, pa.float64()))
    (episode, _) = open_source(str(two_tasks)).recordings(["front"])
    assert isinstance(episode, Episode)
    assert episode.parts == ((0, A), (CHANGE, B), (40, ""))
    refused = [row for row in build(two_tasks, frames=5).ledger.rows if "caption missing" in row.reason]
    assert {(row.first_frame, row.frames) for row in refused} == {(40, 8)}


def test_several_texts_without_indices_give_no_task(two_tasks: Path) -> None:
    set_column(two_tasks / DATA, "task_index", None)
    dataset = build(two_tasks)
    assert {row.reason for row in dataset.ledger.rows} == {"caption missing ({caption} is empty)"}
    assert "no row says which of its 2 task texts applies" in {problem.what for problem in dataset.problems}
