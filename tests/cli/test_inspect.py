import json
from pathlib import Path

from PIL import Image

from ..data.tables import EPISODES, change_column
from ..data.videos import edit_info, truncate, write_packed_v3, write_v2
from .in_process import Verb, in_process

__all__ = ["in_process"]


def test_output_fits_80_columns_and_sheet_is_drawn(in_process: Verb, tmp_path: Path) -> None:
    root = write_v2(tmp_path / "d", (21, 30), ("left", "right"))
    truncate(root / "videos/chunk-000/right/episode_000001.mp4")
    done = in_process("inspect", "d", "--sheet", "sheet.png")
    assert done.code == 0, done.err
    assert max(map(len, done.out.splitlines())) <= 80
    text = " ".join(done.out.split())
    for part in ("LeRobot v2.1, 2 episodes", "2 of 2", "1 of 2", "64×64", "task 1", "the video is cut short"):
        assert part in text
    assert "21 frames at 16 fps, 64×64 pixels would get 3 clips" in text
    assert "sheet.png: 3 of 3 recordings" in text
    assert Image.open(tmp_path / "sheet.png").size[0] > 500


def test_json_contains_counts_and_problems(in_process: Verb, tmp_path: Path) -> None:
    write_v2(tmp_path / "d", (21, 21))
    done = in_process("inspect", "d", "--json", "--frames", "10", "--fps", "8")
    report = json.loads(done.out)
    assert (report["kind"], report["cameras"], report["clips"]) == ("LeRobot v2.1", ["cam"], 2)
    recording, _ = report["recordings"]
    assert (recording["frames"], recording["states"], recording["actions"], recording["reason"]) == (21, 2, 1, "")
    assert report["problems"] == []


def test_real_dataset_is_described(in_process: Verb, real_data: Path) -> None:
    done = in_process("inspect", real_data / "gr1_picknplace")
    text = " ".join(done.out.split())
    assert done.code == 0, done.err
    assert max(map(len, done.out.splitlines())) <= 80
    for part in (
        "observation.images.egoview 0 of 5",
        "observation.images.ego_view 5 of 5 256×256 20",
        "split train is 0:100, but there are 5 episodes",
        "camera observation.images.egoview is not on disk",
        "task 1 is 'valid': a flag, not a task",
        "pick the cupcake from the counter and place it in the plate",
    ):
        assert part in text


def test_wrong_setting_or_folder_is_one_line(in_process: Verb, tmp_path: Path) -> None:
    for arguments in (["gone"], [".", "--frames", "0"]):
        done = in_process("inspect", *arguments)
        assert done.code == 2
        assert done.err.count("\n") == 1
        assert done.err.startswith("error: ")


def test_stated_split_and_repeated_problem_are_printed_once(in_process: Verb, tmp_path: Path) -> None:
    root = write_packed_v3(tmp_path / "d", (6, 6, 6, 6), {"front": [[0, 1, 2, 3]]})
    edit_info(root, splits={"train": "0:3", "val": "3:4"})
    change_column(root / EPISODES, "videos/front/to_timestamp", lambda ends: [end - 1 / 16 for end in ends])
    done = in_process("inspect", "d")
    assert done.code == 0, done.err
    assert "The dataset states the split train (3 episodes), val (1 episodes)." in done.out
    assert "Problems (1)" in done.out
    assert "… 4 in all" in done.out
    assert done.out.count("to_timestamp is 1 frame") == 1
