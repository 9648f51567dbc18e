"""Folders of images as recordings."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from worldtune.data.clip import read_clip
from worldtune.data.episode import Episode, SkippedRecording
from worldtune.data.sources import open_source
from worldtune.data.sources.image_folder import infer_times
from worldtune.errors import DataError

from ..reading import build, frames, numbers, recordings
from ..videos import film, read_back


def shoot(folder: Path, numbers: range | list[int], tag: int = 0, name: str = "frame_{}.png") -> Path:
    """Write one image per number, which the image shows."""
    folder.mkdir(parents=True)
    for number in numbers:
        Image.fromarray(film(1, tag, number)[0]).save(folder / name.format(number))
    return folder


def by_name(root: Path) -> dict[tuple[str, str], str]:
    found = recordings(root, fps=10)
    return {(r.name, r.camera): r.reason if isinstance(r, SkippedRecording) else "" for r in found}


@pytest.mark.parametrize("ending", ["png", "JPG", "jpeg", "bmp", "webp"])
def test_images_are_read_in_numeric_order(tmp_path: Path, ending: str) -> None:
    shoot(tmp_path / "d/ep_2", range(8, 20), 2, f"frame_{{}}.{ending}")
    shoot(tmp_path / "d/ep_10", range(12), 10, f"frame_{{:04d}}.{ending}")
    (tmp_path / "d/ep_2.txt").write_text("it lifts")
    two, ten = recordings(tmp_path / "d", fps=10)
    assert isinstance(two, Episode)
    assert isinstance(ten, Episode)
    assert [(r.name, r.camera, r.caption, r.frames, r.fps) for r in (two, ten)] == [
        ("ep_2", "video", "it lifts", 12, 10),
        ("ep_10", "video", "", 12, 10),
    ]
    assert numbers(two) == list(range(8, 20))
    with Image.open(next((tmp_path / "d/ep_10").glob("*3.*"))) as picture:
        assert (frames(ten)[3] == np.asarray(picture.convert("RGB"))).all()


def test_clips_of_images_are_cut_and_held_out(tmp_path: Path) -> None:
    for n in range(5):
        shoot(tmp_path / f"d/{n}", range(n, 20 + n), n)
    dataset = build(tmp_path / "d", caption="a robot", recorded_fps=16, held_out=0.2)
    assert (len(dataset.train), len(dataset.held_out), dataset.faults) == (8, 2, [])
    for clip in dataset.clips:
        assert read_back(read_clip(clip)) == [
            (int(clip.episode), int(clip.episode) + pick) for pick in clip.frame_indices
        ]


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["ep1/front", "ep1/wrist", "ep2/front", "ep2/wrist"], {"ep1", "ep2"}),
        (["front/ep1", "front/ep2", "wrist/ep1", "wrist/ep2"], {"ep1", "ep2"}),
        (["a/1", "a/2", "a/3", "b/1", "b/2", "b/3"], {"1", "2", "3"}),
        (["images/ep1", "images/ep2"], {"ep1", "ep2"}),
        (["front", "wrist"], {"d"}),
        (["lift", "push"], {"lift", "push"}),
        (["."], {"d"}),
    ],
)
def test_folder_name_is_the_camera(tmp_path: Path, folders: list[str], expected: set[str]) -> None:
    (tmp_path / "d").mkdir()
    for tag, folder in enumerate(folders):
        for number in range(3):
            (tmp_path / "d" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(film(1, tag, number)[0]).save(tmp_path / "d" / folder / f"{number}.png")
    found = by_name(tmp_path / "d")
    assert {name for name, _ in found} == expected
    assert len(found) == len(folders)


def test_damaged_image_skips_only_its_recording(tmp_path: Path) -> None:
    for name in "abcd":
        shoot(tmp_path / f"d/{name}", range(3))
    data = (tmp_path / "d/a/frame_1.png").read_bytes()
    (tmp_path / "d/a/frame_1.png").write_bytes(data[:-40])
    (tmp_path / "d/b/frame_1.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    Image.new("RGB", (32, 16)).save(tmp_path / "d/c/frame_1.png")
    (tmp_path / "d/d/notes.md").write_text("x")
    (tmp_path / "d/e").mkdir()
    found = by_name(tmp_path / "d")
    assert "(frame_1.png)" in found["a", "video"]
    assert found["b", "video"] == "a Git LFS pointer, not the file itself: run `git lfs pull` (frame_1.png)"
    assert found["c", "video"] == "its images have different sizes (64×64, 16×32 from frame_1.png on)"
    assert found["d", "video"] == ""
    message = {problem.where: problem.what for problem in open_source(str(tmp_path / "d"), 10).problems()}
    assert message["d/notes.md"] == "not read: not an image"
    assert message["e"] == "not read: a folder without numbered images"


def test_depth_camera_is_skipped_by_name(tmp_path: Path) -> None:
    for camera in ("front", "front_depth"):
        shoot(tmp_path / f"d/ep1/{camera}", range(3))
    assert by_name(tmp_path / "d") == {("ep1", "front"): "", ("ep1", "front_depth"): "a depth map, not a picture"}


def test_missing_images_leave_a_gap_in_time(tmp_path: Path) -> None:
    shoot(tmp_path / "d/a", [*range(10), *range(20, 30)])
    (found,) = recordings(tmp_path / "d", fps=10)
    assert isinstance(found, Episode)
    assert found.times is not None
    np.testing.assert_allclose(found.times, [n / 10 for n in (*range(10), *range(20, 30))])
    assert found.gaps == ((9, pytest.approx(1.1)),)
    assert found.note == "its image numbers have gaps"


@pytest.mark.parametrize(
    "names", [["a.png", "b.png"], ["5.png", "10.png", "15.png"], ["1_of_9.png", "2_of_9.png"], ["x100.png", "x133.png"]]
)
def test_evenly_numbered_images_are_evenly_spaced(names: list[str]) -> None:
    assert infer_times(names, 10) is None


def test_image_folder_needs_a_rate(tmp_path: Path) -> None:
    shoot(tmp_path / "d/a", range(3))
    with pytest.raises(DataError, match=r"does not state its frame rate.*data\.recorded_fps"):
        open_source(str(tmp_path / "d"))


def test_table_captions_image_folders(tmp_path: Path) -> None:
    shoot(tmp_path / "d/a", range(3))
    (tmp_path / "d/metadata.csv").write_text("video,prompt,task\na,it lifts,lift\n")
    (found,) = recordings(tmp_path / "d", fps=10)
    assert (found.caption, found.task) == ("it lifts", "lift")
