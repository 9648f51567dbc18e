import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from support.progress import Recorded
from worldtune.data.builtin import resolve_data_path
from worldtune.data.clip import read_clip
from worldtune.data.dataset import build_dataset, open_dataset
from worldtune.data.spec import DataSpec
from worldtune.errors import DataError, UserError

from .videos import cosmos_folder, edit_info, read_back, truncate, write_packed_v3, write_v2


def spec(path: Path, frames: int = 8, **settings: Any) -> DataSpec:
    return DataSpec.model_validate(
        {"path": str(path), "frames": frames, "fps": 16, "height": 64, "width": 64} | settings
    )


def skipped(path: Path, frames: int = 8, **settings: Any) -> list[tuple[str, str]]:
    return [
        (row.episode, row.reason) for row in build_dataset(spec(path, frames, **settings)).ledger.rows if not row.kept
    ]


def test_windows_do_not_overlap_and_the_remainder_is_a_row(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"push": 20})
    dataset = open_dataset(spec(root))
    assert [clip.name for clip in dataset.train] == ["push/video/0", "push/video/8"]
    shown = [[t for _, t in read_back(read_clip(clip))] for clip in dataset.train]
    assert shown == [list(range(8)), list(range(8, 16))]
    *kept, rest = dataset.ledger.rows
    assert all(row.kept and row.split == "train" and not row.reason for row in kept)
    assert (rest.kept, rest.first_frame, rest.frames, rest.reason, rest.note) == (
        False, 16, 4, "left over at the episode's end (4 of 8 frames)", "",
    )  # fmt: skip
    assert dataset.ledger.share_skipped() == 0


def test_stride_shorter_than_the_window_makes_overlaps(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"push": 20})
    assert [clip.frame_indices[0] for clip in open_dataset(spec(root, stride=3)).train] == [0, 3, 6, 9, 12]


def test_clip_of_exactly_the_window_is_used(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"push": 8, "short": 7})
    assert [clip.name for clip in open_dataset(spec(root, max_skipped=0.5)).train] == ["push/video/0"]
    assert skipped(root) == [("short", "shorter than the window (7 of 8 frames)")]


def test_retiming_is_noted_and_takes_the_nearest_frames(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"push": 21}, fps=20)
    dataset = open_dataset(spec(root))
    assert dataset.train[0].frame_indices == (0, 1, 3, 4, 5, 6, 8, 9)
    assert [t for _, t in read_back(read_clip(dataset.train[0]))] == [0, 1, 3, 4, 5, 6, 8, 9]
    row = dataset.ledger.rows[0]
    assert (row.fps_in, row.fps_out, row.note) == (20, 16, "retimed from 20 to 16 fps")
    assert open_dataset(spec(root, fps=25)).ledger.rows[0].note == "retimed from 20 to 25 fps, frames repeat"


def test_two_clips_never_begin_at_the_same_frame(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"push": 8}, fps=8)
    with pytest.raises(DataError, match="stride 1 at 16 fps is finer"):
        open_dataset(spec(root, stride=1))


def test_bad_recordings_are_rows_with_reasons(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"cut": 9, "empty": 9, "fine": 9, "mute": 9, "short": 3})
    truncate(root / "videos/cut.mp4")
    (root / "metas/mute.txt").unlink()
    (root / "metas/empty.txt").write_text("\n")
    (cut, *others) = skipped(root)
    assert cut[0] == "cut"
    assert cut[1].startswith("the video is cut short (")
    assert others == [
        ("empty", "caption missing ({caption} is empty)"),
        ("fine", "left over at the episode's end (1 of 8 frames)"),
        ("mute", "caption missing ({caption} is empty)"),
        ("short", "shorter than the window (3 of 8 frames)"),
    ]
    dataset = open_dataset(spec(root, max_skipped=0.8))
    assert [clip.name for clip in dataset.train] == ["fine/video/0"]
    assert dataset.ledger.share_skipped() == 0.8


@pytest.mark.parametrize("harm", ["truncated video", "no caption", "no video", "no mp4"])
def test_too_many_skipped_recordings_are_an_error(tmp_path: Path, harm: str) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 9, "b": 9, "c": 9})
    match harm:
        case "truncated video":
            truncate(root / "videos/b.mp4")
        case "no caption":
            (root / "metas/b.txt").unlink()
        case "no video":
            (root / "videos/b.mp4").unlink()
        case "no mp4":
            (root / "videos/b.mp4").rename(root / "videos/b.mov")
            (root / "metas/b.txt").unlink()
    with pytest.raises(DataError, match=r"1 of 3 recordings give no clip \(33%; the limit is 5%\): .*b.*/video \["):
        open_dataset(spec(root))
    assert [clip.episode for clip in open_dataset(spec(root, max_skipped=0.4)).train] == ["a", "c"]


def test_contradicting_data_is_an_error(tmp_path: Path) -> None:
    root = write_packed_v3(tmp_path / "d", (9, 9), {"cam": [[0, 1]]}, shift=-0.25)
    with pytest.raises(DataError, match="another recording begins in its video before it ends"):
        open_dataset(spec(root))


def test_missing_video_is_a_row(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "d", (9, 9))
    (root / "videos/chunk-000/cam/episode_000001.mp4").unlink()
    assert ("000001", "the video file is missing (videos/chunk-000/cam/episode_000001.mp4)") in skipped(root)


def test_absent_camera_has_a_row_per_episode(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "d", (8, 8))
    features = json.loads((root / "meta/info.json").read_text())["features"]
    edit_info(root, features=features | {"top": features["cam"]})
    assert skipped(root) == [(f"{e:06d}", "camera in info.json but not on disk") for e in range(2)]
    assert skipped(root, cameras=["cam"]) == []
    with pytest.raises(DataError, match=r"no camera top.*Available cameras: cam"):
        open_dataset(spec(root, cameras=["top"]))


def test_only_requested_tasks_are_used(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "d", (8, 8, 8))
    dataset = open_dataset(spec(root, tasks=["task 0"]))
    assert [clip.episode for clip in dataset.train] == ["000000", "000002"]
    assert skipped(root, tasks=["task 0"]) == [("000001", "task not asked for")]
    assert dataset.ledger.share_skipped() == 0
    with pytest.raises(DataError, match=r"no episode has the task 'task 00'.*Did you mean 'task 0'"):
        open_dataset(spec(root, tasks=["task 00"]))


def test_caption_template_is_filled(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "d", (8,))
    (clip,) = open_dataset(spec(root, caption="Camera {camera}: {task}.")).train
    assert (clip.caption, clip.task) == ("Camera cam: task 0.", "task 0")


def test_cameras_and_windows_of_an_episode_stay_together(tmp_path: Path) -> None:
    layout = {"front": [[0, 1, 2, 3, 4, 5]], "wrist": [[0, 1, 2], [3, 4, 5]]}
    root = write_packed_v3(tmp_path / "d", (17,) * 6, layout)
    dataset = open_dataset(spec(root, held_out=0.34, seed=3))
    train, held_out = ({clip.episode for clip in part} for part in (dataset.train, dataset.held_out))
    assert (len(train), len(held_out), train & held_out) == (4, 2, set())
    assert {clip.task for clip in dataset.held_out} == {"task 0", "task 1"}
    assert len(dataset.held_out) == 2 * 2 * 2
    assert {row.split for row in dataset.ledger.rows if row.episode in held_out and row.kept} == {"held_out"}
    for clip in dataset.held_out:
        assert read_back(read_clip(clip))[0] == (
            10 * (clip.camera == "wrist") + int(clip.episode),
            clip.frame_indices[0],
        )


def test_no_usable_clip_is_an_error_with_reasons(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"push": 5, "lift": 5})
    with pytest.raises(DataError, match=r"no clip can be used.*2 × shorter than the window"):
        open_dataset(spec(root))
    one = cosmos_folder(tmp_path / "one", {"push": 9})
    with pytest.raises(DataError, match=r"nothing is left for training.*of 1 usable episode"):
        open_dataset(spec(one, held_out=0.2))


@pytest.mark.parametrize(
    "settings",
    [
        {"frames": 0},
        {"fps": 0},
        {"stride": 0},
        {"held_out": 1},
        {"fit": "crop"},
        {"caption": "{x}"},
        {"windw": 3},
        {"tasks": ["a"], "held_out_tasks": ["b"]},
        {"augment": {"copies": 1, "color": 0, "crop": 1}},
        {"windows": "random"},
        {"draws": 2},
        {"windows": "whole", "stride": 2},
        {"windows": "whole", "retime": "exact"},
        {"tile": [["a"], ["b", "c"]]},
        {"tile": [["a", "a"]]},
        {"tile": [["", ""]]},
        {"tile": [["a", "b", "c"]]},
    ],
)
def test_invalid_settings_are_errors(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        spec(tmp_path, **settings)


def test_digest_depends_on_content_not_location(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"push": 20, "lift": 9})
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    digest = open_dataset(spec(root)).digest
    assert open_dataset(spec(copy)).digest == digest
    assert open_dataset(spec(root, seed=1)).digest != digest
    assert open_dataset(spec(root, width=32)).digest != digest
    (copy / "metas/push.txt").write_text("the robot waits")
    assert open_dataset(spec(copy)).digest != digest
    shutil.copy(root / "metas/push.txt", copy / "metas/push.txt")
    (copy / "videos/lift.mp4").write_bytes((root / "videos/lift.mp4").read_bytes() + b"\0\0\0\x08free")
    assert open_dataset(spec(copy)).digest != digest


def test_the_ledger_is_written_as_parquet(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"cut": 9, "push": 20})
    truncate(root / "videos/cut.mp4")
    ledger = open_dataset(spec(root, max_skipped=0.5)).ledger
    ledger.write(tmp_path / "out/ledger.parquet")
    rows = pq.read_table(tmp_path / "out/ledger.parquet").to_pylist()
    assert [(row["episode"], row["first_frame"], row["kept"], row["split"]) for row in rows] == [
        ("cut", 0, False, ""),
        ("push", 0, True, "train"),
        ("push", 8, True, "train"),
        ("push", 16, False, ""),
    ]
    assert rows[0]["fps_in"] is None
    scores = {name: rows[1].pop(name) for name in ("motion", "still", "sharpness", "brightness")}
    assert scores["motion"] > 20
    assert scores["still"] == 0
    assert rows[1] | {"source": ""} == {
        "source": "", "episode": "push", "camera": "video", "task": "", "caption": "the robot does push",
        "first_frame": 0, "frames": 8, "fps_in": 16.0, "fps_out": 16.0, "kept": True, "split": "train",
        "reason": "", "note": "", "session": "", "caption_origin": "source", "speed": 1.0, "augmentation": "",
        "same_footage": "",
    }  # fmt: skip
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError):
        ledger.write(tmp_path / "file/ledger.parquet")


def test_an_unknown_builtin_is_an_error() -> None:
    with pytest.raises(DataError, match="no such built-in dataset"):
        resolve_data_path("builtin:nothing-of-that-name")
    with pytest.raises(DataError, match="no such built-in dataset"):
        resolve_data_path("builtin:../episodes")


def test_progress_counts_every_recording(tmp_path: Path) -> None:
    root = write_packed_v3(tmp_path / "d", (9, 4), {"front": [[0, 1]], "wrist": [[0], [1]]})
    progress = Recorded()
    build_dataset(spec(root), progress)
    assert progress.counts == [(1, 4), (2, 4), (3, 4), (4, 4)]
