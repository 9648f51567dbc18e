"""LeRobot datasets and tables of prompts whose metadata are wrong: one line, or lost recordings by name."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from worldtune.episodes.dataset import Dataset, take_stock
from worldtune.episodes.sources import open_source
from worldtune.episodes.spec import DataSpec
from worldtune.errors import DataError

from .films import cosmos_folder, edit_info, write_packed_v3, write_tasks, write_v2

EPISODES, TASKS = "meta/episodes/chunk-000/file-000.parquet", "meta/tasks.parquet"
DATA = "data/chunk-000/file-000.parquet"


def stock(root: Path) -> Dataset:
    settings = {"path": str(root), "frames": 8, "fps": 16, "height": 64, "width": 64, "caption": "a robot"}
    return take_stock(DataSpec.model_validate(settings))


def reasons(root: Path) -> dict[str, str]:
    return {row.episode: row.reason for row in stock(root).ledger.rows}


def refused(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        stock(root)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    return write_v2(tmp_path / "v2", (8, 8, 8))


@pytest.fixture
def v3(tmp_path: Path) -> Path:
    return write_packed_v3(tmp_path / "v3", (8, 8, 8), {"front": [[0, 1, 2]]})


def edit_episode(root: Path, number: int, **changes: Any) -> None:
    path = root / "meta/episodes.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    records[number] |= changes
    path.write_text("\n".join(map(json.dumps, records)))


def edit_table(path: Path, name: str, change: Callable[[list[Any]], list[Any] | pa.Array | None]) -> None:
    """The column with other values, or without it where `change` gives none."""
    table = pq.read_table(path)
    values, at = change(table.column(name).to_pylist()), table.column_names.index(name)
    table = table.drop_columns(name) if values is None else table.set_column(at, name, pa.array(values))
    pq.write_table(table, path)


@pytest.mark.parametrize(
    ("file", "column", "says"),
    [
        (EPISODES, "length", r"a record has no 'length' .*file-000.parquet"),
        (EPISODES, "tasks", "a record has no 'tasks'"),
        (EPISODES, "dataset_to_index", "KeyError.'dataset_to_index'"),
        (EPISODES, "videos/front/chunk_index", "KeyError.'videos/front/chunk_index'"),
        (EPISODES, "videos/front/from_timestamp", "KeyError.'videos/front/from_timestamp'"),
        (TASKS, "task_index", "a record has no 'task_index' .*tasks.parquet"),
        (TASKS, "__index_level_0__", "no column holds the task texts .*tasks.parquet"),
    ],
)
def test_a_parquet_file_without_a_column_is_one_line(v3: Path, file: str, column: str, says: str) -> None:
    edit_table(v3 / file, column, lambda values: None)
    with pytest.raises(DataError, match=says):
        stock(v3)


def test_episodes_without_a_file_for_a_camera_are_lost(v3: Path) -> None:
    edit_table(v3 / EPISODES, "videos/front/file_index", lambda values: [0, None, 0])
    assert reasons(v3) == {"000000": "", "000001": "the episode names no video for this camera", "000002": ""}


def test_data_without_states_are_read_without(v3: Path) -> None:
    edit_table(v3 / DATA, "observation.state", lambda values: None)
    dataset = stock(v3)
    assert [(clip.states, clip.actions is None) for clip in dataset.clips] == [(None, False)] * 3


def test_an_episode_index_out_of_range_is_a_lost_recording(v2: Path, v3: Path) -> None:
    edit_episode(v2, 2, episode_index=7)
    assert reasons(v2) == {"000000": "", "000001": "", "000007": "the video file is missing"}
    assert stock(v2).faults == ["1 of 3 recordings give no clip (33%, allowed are 5%): 000007/cam"]
    assert "its data file episode_000007.parquet is missing" in {problem.what for problem in stock(v2).problems}
    edit_table(v3 / EPISODES, "episode_index", lambda values: [0, 1, 7])
    assert reasons(v3)["000007"] == "state rows and frames differ (0 and 8)"


@pytest.mark.parametrize("index", [-1, 0.5, 10**30, True, "1", [1]])
def test_an_episode_index_that_is_none_is_one_line(v2: Path, index: object) -> None:
    edit_episode(v2, 1, episode_index=index)
    assert "episode_index is " in refused(v2)


@pytest.mark.parametrize(("start", "length"), [(-0.5, 8), (0.5, 0)])
def test_a_place_before_the_video_or_of_no_length_is_a_lost_recording(v3: Path, start: float, length: int) -> None:
    edit_table(v3 / EPISODES, "videos/front/from_timestamp", lambda values: [0, start, 1])
    edit_table(v3 / EPISODES, "length", lambda values: [8, length, 8])
    said = f"the metadata give it {length} frames, from frame {round(16 * start)} of its video on"
    assert reasons(v3) == {"000000": "", "000001": said, "000002": ""}


@pytest.mark.parametrize("tasks", ["task 1", {"task 1": 0}, 7, [None], [7]])
def test_task_texts_that_are_no_list_of_texts_are_one_line(v2: Path, tasks: object) -> None:
    edit_episode(v2, 1, tasks=tasks)
    assert "the metadata cannot be understood: TypeError" in refused(v2)


def test_a_tasks_file_with_a_missing_index_is_told(v2: Path) -> None:
    (v2 / "meta/tasks.jsonl").write_text('{"task_index": 0, "task": "task 0"}\n')
    said = "its task 'task 1' is not in tasks.jsonl"
    assert ("episode 000001", said) in [(problem.where, problem.what) for problem in stock(v2).problems]
    assert reasons(v2) == dict.fromkeys(("000000", "000001", "000002"), "")


def test_a_description_whose_index_is_missing_is_no_task(v2: Path) -> None:
    """GR00T's flavour: the data alone say which text describes an episode."""
    (v2 / "meta/modality.json").write_text(json.dumps({"annotation": {"human.task_description": {}}}))
    write_tasks(v2, ["task 0", "task 1", "lift it"])
    for episode, index in enumerate((2, 9, 2)):
        path = v2 / f"data/chunk-000/episode_{episode:06d}.parquet"
        rows = pq.read_table(path)
        column = pa.array([index] * len(rows))
        pq.write_table(rows.append_column("annotation.human.task_description", column), path)
    assert [recording.task for recording in open_source(str(v2)).recordings(["cam"])] == ["lift it", "", "lift it"]
    assert ("episode 000001", "no task text") in [(problem.where, problem.what) for problem in stock(v2).problems]


@pytest.mark.parametrize("index", [None, -1, "x", [], {}, 0.5, float("inf"), 10**400])
def test_a_task_index_that_is_none_is_one_line(v2: Path, index: object) -> None:
    (v2 / "meta/tasks.jsonl").write_text(json.dumps({"task_index": index, "task": "task 0"}))
    assert "task_index" in refused(v2)


@pytest.mark.parametrize("key", ["video_path", "data_path"])
@pytest.mark.parametrize(
    "template",
    [
        "../{episode_index}", "/tmp/{episode_index}", "a/{video_key}/../../../b", "{nope}", "{0}", "{}", "{",
        "{episode_index.real}", "{episode_index!r}", "{episode_index:9999999999}", "é" * 200,
    ],
)  # fmt: skip
def test_a_template_out_of_the_dataset_or_of_other_fields_is_one_line(v2: Path, key: str, template: str) -> None:
    edit_info(v2, **{key: template})
    assert "the metadata cannot be understood: " in refused(v2)


def test_a_camera_named_out_of_the_dataset_is_one_line(v2: Path) -> None:
    edit_info(v2, features={"../../cam": {"dtype": "video"}})
    assert "which is no path in the dataset" in refused(v2)


def test_a_template_that_gives_all_the_same_video_is_a_fault(v2: Path) -> None:
    edit_info(v2, video_path="videos/chunk-000/{video_key}/episode_000000.mp4")
    assert "episode 000001: cam: begins at frame 0 of episode_000000.mp4, where another lasts until 8" in str(
        stock(v2).faults
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"chunks_size": 0}, "chunks_size is 0"),
        ({"chunks_size": True}, "chunks_size is True"),
        ({"fps": True}, "fps is True"),
        ({"fps": float("inf")}, "Infinity is not a number"),
        ({"fps": float("nan")}, "NaN is not a number"),
        ({"fps": 10**400}, "a number has more than 40 digits"),
        ({"robot_type": "\ud800"}, "a lone surrogate"),
    ],
)
def test_info_of_impossible_values_is_one_line(v2: Path, changes: dict[str, Any], says: str) -> None:
    edit_info(v2, **changes)
    with pytest.raises(DataError, match=says):
        stock(v2)


@pytest.mark.parametrize("shape", [[{"a": 1}, 64, 3], [[64], 64, 3], "64", None])
def test_a_shape_of_no_numbers_is_a_problem(v2: Path, shape: object) -> None:
    edit_info(v2, features={"cam": {"dtype": "video", "shape": shape}})
    assert any(f"info.json says {shape}" in problem.what for problem in stock(v2).problems)


def test_data_of_no_rows_are_lost_recordings(v2: Path) -> None:
    path = v2 / "data/chunk-000/episode_000001.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    assert reasons(v2) == {"000000": "", "000001": "state rows and frames differ (0 and 8)", "000002": ""}


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ([[1.0], [1.0, 2.0, 3.0]] * 4, "rows of unequal length"),
        ([[1.0, 2.0]] * 7 + [None], "gaps"),
        ([{"x": 1.0}] * 8, "of struct<x: double>, not of numbers"),
        ([[[1.0]]] * 8, "of list<.*>, not of numbers"),
        (["a"] * 8, "of string, not of numbers"),
    ],
)
def test_states_that_are_no_rows_of_numbers_are_one_line(v2: Path, column: list[Any], says: str) -> None:
    edit_table(v2 / "data/chunk-000/episode_000001.parquet", "observation.state", lambda values: column)
    assert re.fullmatch(f"the column observation.state .*{says}.*", reasons(v2)["000001"])
    (problem,) = (problem for problem in stock(v2).problems if problem.level == "error")
    assert (problem.episode, problem.what) == ("000001", f"episode_000001.parquet: {reasons(v2)['000001']}")


def test_episode_numbers_that_are_none_and_a_column_twice_are_one_line(v2: Path, v3: Path) -> None:
    edit_table(v3 / DATA, "episode_index", lambda values: list(map(str, values)))
    assert all(reason.startswith("its columns cannot be understood") for reason in reasons(v3).values())
    path = v2 / "data/chunk-000/episode_000000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("action", table.column("action")), path)
    assert reasons(v2)["000000"] == "the column action is there twice"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('video,prompt\na,"one\nb,two\n', "not a table: unexpected end of data"),
        ('video,prompt\na,"one" two\n', "not a table: .* expected after"),
        (f"video,prompt\na,{'x' * 200_000}\n", "not a table: field larger than field limit"),
    ],
)
def test_a_table_that_is_none_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8})
    (root / "metas/a.txt").unlink()
    (root / "metadata.csv").write_text(text)
    with pytest.raises(DataError, match=says):
        stock(root)


def test_the_mark_that_spreadsheets_and_editors_begin_a_file_with_is_no_part_of_it(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8})
    for inside, file, text in (("captions", "a.json", '{"qwen": "It waits."}'), ("metas", "a.txt", "It lifts.")):
        (root / inside).mkdir(exist_ok=True)
        (root / inside / file).write_text(text, encoding="utf-8-sig")
    (root / "metadata.csv").write_text("video,prompt\na,It turns.\n", encoding="utf-8-sig")
    for gone, said in ((None, "It waits."), ("captions/a.json", "It lifts."), ("metas/a.txt", "It turns.")):
        if gone:
            (root / gone).unlink()
        assert [one.caption for one in open_source(str(root)).recordings(["video"])] == [said]


def test_json_that_is_nested_too_deep_is_one_line(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8})
    (root / "captions").mkdir()
    (root / "captions/a.json").write_text("[" * 100_000)
    assert "nested deeper than 64" in refused(root)


def test_a_caption_file_that_is_a_folder_or_leads_nowhere_is_one_line(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8})
    caption = root / "metas/a.txt"
    caption.unlink()
    caption.mkdir()
    assert "the file cannot be read: Is a directory [" in refused(root)
    caption.rmdir()
    caption.symlink_to(tmp_path / "gone.txt")
    assert "the file cannot be read: No such file or directory [" in refused(root)
