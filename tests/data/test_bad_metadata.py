"""LeRobot datasets and prompt tables with wrong metadata: a one-line error, or skipped recordings by name."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from worldtune.data.dataset import Dataset, build_dataset
from worldtune.data.sources import open_source
from worldtune.data.spec import DataSpec
from worldtune.errors import DataError

from .videos import cosmos_folder, edit_info, write_packed_v3, write_tasks, write_v2

EPISODES, TASKS = "meta/episodes/chunk-000/file-000.parquet", "meta/tasks.parquet"
DATA = "data/chunk-000/file-000.parquet"


def build(root: Path) -> Dataset:
    settings = {"path": str(root), "frames": 8, "fps": 16, "height": 64, "width": 64, "caption": "a robot"}
    return build_dataset(DataSpec.model_validate(settings))


def reasons(root: Path) -> dict[str, str]:
    return {row.episode: row.reason for row in build(root).ledger.rows}


def refused(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        build(root)
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
    """Change the values of a column, or remove it if `change` returns none."""
    table = pq.read_table(path)
    values, at = change(table.column(name).to_pylist()), table.column_names.index(name)
    table = table.drop_columns(name) if values is None else table.set_column(at, name, pa.array(values))
    pq.write_table(table, path)


@pytest.mark.parametrize(
    ("file", "column", "message"),
    [
        (EPISODES, "length", r"a record has no 'length' .*file-000.parquet"),
        (EPISODES, "videos/front/chunk_index", "KeyError.'videos/front/chunk_index'"),
        (EPISODES, "videos/front/from_timestamp", "KeyError.'videos/front/from_timestamp'"),
        (TASKS, "task_index", "a record has no 'task_index' .*tasks.parquet"),
        (TASKS, "__index_level_0__", "no column has the task texts .*tasks.parquet"),
    ],
)
def test_missing_parquet_column_is_a_one_line_error(v3: Path, file: str, column: str, message: str) -> None:
    edit_table(v3 / file, column, lambda values: None)
    with pytest.raises(DataError, match=message):
        build(v3)


def test_episodes_without_a_camera_file_are_skipped(v3: Path) -> None:
    edit_table(v3 / EPISODES, "videos/front/file_index", lambda values: [0, None, 0])
    assert reasons(v3) == {"000000": "", "000001": "the episode names no video for this camera", "000002": ""}


def test_data_without_states_are_read_without(v3: Path) -> None:
    edit_table(v3 / DATA, "observation.state", lambda values: None)
    dataset = build(v3)
    assert [(clip.states, clip.actions is None) for clip in dataset.clips] == [(None, False)] * 3


def test_episode_index_out_of_range_is_skipped(v2: Path, v3: Path) -> None:
    edit_episode(v2, 2, episode_index=7)
    missing = "videos/chunk-000/cam/episode_000007.mp4"
    assert reasons(v2) == {"000000": "", "000001": "", "000007": f"the video file is missing ({missing})"}
    (fault,) = build(v2).faults
    assert fault.message == "1 of 3 recordings give no clip (33%; the limit is 5%): 000007/cam"
    assert fault.hint == (
        f"Not used: 1 × the video file is missing ({missing}). Repair these recordings, or train without them: "
        "data.max_skipped=0.34 in a recipe, --max-skipped 0.34 for `worldtune check`."
    )
    assert "its data file is missing (data/chunk-000/episode_000007.parquet)" in {
        problem.what for problem in build(v2).problems
    }
    edit_table(v3 / EPISODES, "episode_index", lambda values: [0, 1, 7])
    assert reasons(v3)["000007"] == "state rows and frames differ (0 and 8)"


@pytest.mark.parametrize("index", [-1, 0.5, 10**30, True, "1", [1]])
def test_invalid_episode_index_is_a_one_line_error(v2: Path, index: object) -> None:
    edit_episode(v2, 1, episode_index=index)
    assert "episode_index is " in refused(v2)


@pytest.mark.parametrize(("start", "length"), [(-0.5, 8), (0.5, 0)])
def test_negative_start_or_zero_length_is_skipped(v3: Path, start: float, length: int) -> None:
    edit_table(v3 / EPISODES, "videos/front/from_timestamp", lambda values: [0, start, 1])
    edit_table(v3 / EPISODES, "length", lambda values: [8, length, 8])
    message = f"the metadata states {length} frames, from frame {round(16 * start)} of its video on"
    assert reasons(v3) == {"000000": "", "000001": message, "000002": ""}


@pytest.mark.parametrize("tasks", [{"task 1": 0}, 7, [None], [7]])
def test_invalid_task_texts_are_a_one_line_error(v2: Path, tasks: object) -> None:
    edit_episode(v2, 1, tasks=tasks)
    assert "the metadata cannot be understood: TypeError" in refused(v2)


def test_missing_task_index_is_a_warning(v2: Path) -> None:
    (v2 / "meta/tasks.jsonl").write_text('{"task_index": 0, "task": "task 0"}\n')
    message = "its task 'task 1' is not in tasks.jsonl"
    assert ("episode 000001", message) in [(problem.where, problem.what) for problem in build(v2).problems]
    assert reasons(v2) == dict.fromkeys(("000000", "000001", "000002"), "")


def test_description_with_unknown_index_is_not_a_task(v2: Path) -> None:
    """In GR00T's flavor only the rows state which text describes an episode."""
    (v2 / "meta/modality.json").write_text(json.dumps({"annotation": {"human.task_description": {}}}))
    write_tasks(v2, ["task 0", "task 1", "lift it"])
    for episode, index in enumerate((2, 9, 2)):
        path = v2 / f"data/chunk-000/episode_{episode:06d}.parquet"
        rows = pq.read_table(path)
        column = pa.array([index] * len(rows))
        pq.write_table(rows.append_column("annotation.human.task_description", column), path)
    assert [recording.task for recording in open_source(str(v2)).recordings(["cam"])] == ["lift it", "", "lift it"]
    assert ("episode 000001", "no task text") in [(problem.where, problem.what) for problem in build(v2).problems]


@pytest.mark.parametrize("index", [None, -1, "x", [], {}, 0.5, float("inf"), 10**400])
def test_invalid_task_index_is_a_one_line_error(v2: Path, index: object) -> None:
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
def test_invalid_path_template_is_a_one_line_error(v2: Path, key: str, template: str) -> None:
    edit_info(v2, **{key: template})
    assert "the metadata cannot be understood: " in refused(v2)


def test_camera_path_outside_dataset_is_a_one_line_error(v2: Path) -> None:
    edit_info(v2, features={"../../cam": {"dtype": "video"}})
    assert "which is not a path in the dataset" in refused(v2)


def test_template_with_one_video_for_all_is_a_fault(v2: Path) -> None:
    edit_info(v2, video_path="videos/chunk-000/{video_key}/episode_000000.mp4")
    assert "episode 000001: cam: begins at frame 0 of episode_000000.mp4, but another recording lasts until 8" in str(
        build(v2).faults[0]
    )


@pytest.mark.parametrize(
    ("changes", "message"),
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
def test_info_with_impossible_values_is_a_one_line_error(v2: Path, changes: dict[str, Any], message: str) -> None:
    edit_info(v2, **changes)
    with pytest.raises(DataError, match=message):
        build(v2)


@pytest.mark.parametrize("shape", [[{"a": 1}, 64, 3], [[64], 64, 3], "64", None])
def test_non_numeric_shape_is_a_problem(v2: Path, shape: object) -> None:
    edit_info(v2, features={"cam": {"dtype": "video", "shape": shape}})
    assert [problem.what for problem in build(v2).problems] == [f"cam: 64×64 pixels, but info.json states {shape}"] * 3


def test_data_without_rows_is_skipped(v2: Path) -> None:
    path = v2 / "data/chunk-000/episode_000001.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    assert reasons(v2) == {"000000": "", "000001": "state rows and frames differ (0 and 8)", "000002": ""}


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([[1.0], [1.0, 2.0, 3.0]] * 4, "rows of unequal length"),
        ([[1.0, 2.0]] * 7 + [None], "gaps"),
        ([{"x": 1.0}] * 8, "is struct<x: double>, not numeric"),
        ([[[1.0]]] * 8, "is list<.*>, not numeric"),
        (["a"] * 8, "is string, not numeric"),
    ],
)
def test_invalid_state_column_is_a_one_line_error(v2: Path, column: list[Any], message: str) -> None:
    edit_table(v2 / "data/chunk-000/episode_000001.parquet", "observation.state", lambda values: column)
    assert re.fullmatch(f"the column observation.state .*{message}.*", reasons(v2)["000001"])
    (problem,) = (problem for problem in build(v2).problems if problem.level == "error")
    assert (problem.episode, problem.what) == ("000001", f"episode_000001.parquet: {reasons(v2)['000001']}")


def test_invalid_episode_numbers_and_repeated_columns_are_one_line_errors(v2: Path, v3: Path) -> None:
    edit_table(v3 / DATA, "episode_index", lambda values: list(map(str, values)))
    assert all(reason.startswith("its columns cannot be understood") for reason in reasons(v3).values())
    path = v2 / "data/chunk-000/episode_000000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("action", table.column("action")), path)
    assert reasons(v2)["000000"] == "the column action exists twice"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('video,prompt\na,"one\nb,two\n', "not a table: unexpected end of data"),
        ('video,prompt\na,"one" two\n', "not a table: .* expected after"),
        (f"video,prompt\na,{'x' * 200_000}\n", "not a table: field larger than field limit"),
    ],
)
def test_invalid_table_is_a_one_line_error(tmp_path: Path, text: str, message: str) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8})
    (root / "metas/a.txt").unlink()
    (root / "metadata.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        build(root)


def test_utf8_bom_is_ignored(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8})
    for inside, file, text in (("captions", "a.json", '{"qwen": "It waits."}'), ("metas", "a.txt", "It lifts.")):
        (root / inside).mkdir(exist_ok=True)
        (root / inside / file).write_text(text, encoding="utf-8-sig")
    (root / "metadata.csv").write_text("video,prompt\na,It turns.\n", encoding="utf-8-sig")
    for missing, message in ((None, "It waits."), ("captions/a.json", "It lifts."), ("metas/a.txt", "It turns.")):
        if missing:
            (root / missing).unlink()
        assert [one.caption for one in open_source(str(root)).recordings(["video"])] == [message]


def test_deeply_nested_json_is_a_one_line_error(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8})
    (root / "captions").mkdir()
    (root / "captions/a.json").write_text("[" * 100_000)
    assert reasons(root)["a"].endswith("nested deeper than 64 (captions/a.json)")


def test_broken_caption_link_skips_only_its_recording(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8})
    caption = root / "metas/a.txt"
    caption.unlink()
    caption.symlink_to(tmp_path / "gone.txt")
    message = "its caption cannot be read: the file cannot be read: No such file or directory (metas/a.txt)"
    assert reasons(root)["a"].startswith(message)
