import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from pydantic import ValidationError

from worldtune.episodes.clip import content_digest, read_clip
from worldtune.episodes.dataset import Dataset, open_dataset, take_stock
from worldtune.episodes.footage import Film
from worldtune.episodes.looks import look_at
from worldtune.episodes.spec import DataSpec
from worldtune.episodes.tiles import Layout, Tiled, cameras_of, name_of
from worldtune.episodes.video import write_video
from worldtune.errors import DataError

from .films import SIDE, film, read_back, write_packed_v3
from .scenes import aged

LENGTHS = (9, 12)
CAMERAS = ("front", "side", "wrist")
TAGS = {camera: 10 * number for number, camera in enumerate(CAMERAS)}


def spec(root: Path, tile: Any, **settings: Any) -> DataSpec:
    """Films of small numbers are mostly black."""
    size = {"height": SIDE * len(tile), "width": SIDE * len(tile[0])}
    asked = {"path": str(root), "tile": tile, "frames": 6, "fps": 16, "curate": {"black": False}}
    return DataSpec.model_validate(asked | size | settings)


def cells(frames_THWC: np.ndarray, layout: Layout) -> list[list[list[tuple[int, int]]]]:
    """What each cell shows."""
    rows = np.split(frames_THWC, len(layout), axis=1)
    return [[read_back(cell) for cell in np.split(row, len(layout[0]), axis=2)] for row in rows]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes through three cameras. Do not write into it."""
    root = tmp_path_factory.mktemp("tiles") / "d"
    return write_packed_v3(root, LENGTHS, {camera: [[0, 1]] for camera in CAMERAS})


@pytest.mark.parametrize(
    "layout",
    [
        (("front", "wrist"),),
        (("wrist", "front"),),
        (("front",), ("wrist",)),
        (("front", "side"), ("", "wrist")),
        (("wrist", "", "side"),),
    ],
)
def test_each_camera_is_in_its_cell(recorded: Path, layout: Layout) -> None:
    dataset = open_dataset(spec(recorded, layout))
    assert [clip.episode for clip in dataset.train] == ["000000", "000001", "000001"]
    for clip in dataset.train:
        frames_THWC = read_clip(clip)
        assert frames_THWC.shape == (6, SIDE * len(layout), SIDE * len(layout[0]), 3)
        for names, row in zip(layout, cells(frames_THWC, layout), strict=True):
            for camera, shown in zip(names, row, strict=True):
                filmed = [(TAGS.get(camera, 0) + int(clip.episode), pick) for pick in clip.picks]
                assert shown == (filmed if camera else [(0, 0)] * 6)


def test_an_empty_cell_is_black(recorded: Path) -> None:
    for clip in open_dataset(spec(recorded, (("front", "side"), ("", "wrist")))).train:
        frames_THWC = read_clip(clip)
        assert not frames_THWC[:, SIDE:, :SIDE].any()
        assert frames_THWC[:, SIDE:, SIDE:].any()


def test_the_picture_is_one_camera(recorded: Path) -> None:
    dataset = open_dataset(spec(recorded, (("front", "side"), ("", "wrist")), held_out=0.5))
    assert {row.camera for row in dataset.ledger.rows} == {"front+side|+wrist"}
    assert {clip.episode for clip in dataset.train}.isdisjoint(clip.episode for clip in dataset.held_out)
    assert dataset.ledger.recordings() == {(f"{e:06d}", "front+side|+wrist"): True for e in (0, 1)}


def test_cells_have_sizes_and_fits_of_their_own(recorded: Path) -> None:
    (clip, *_) = open_dataset(spec(recorded, (("front", "wrist"),), height=32, width=256, fit="letterbox")).train
    left, right = np.split(read_clip(clip), 2, axis=2)
    for half, tag in ((left, 0), (right, 20)):
        assert not half[:, :, :48].any()
        assert not half[:, :, 80:].any()
        assert read_back(half[:, :, 48:80]) == [(tag, pick) for pick in clip.picks]


def test_a_frame_comes_by_its_number(recorded: Path) -> None:
    videos = [recorded / f"videos/{camera}/chunk-000/file-000.mp4" for camera in ("front", "side")]
    tiled = Tiled(((Film(videos[0], 9), None, Film(videos[1], 9)),), SIDE, 3 * SIDE, "stretch")
    found = dict(tiled.frames([2, 7, 11, 40]))
    assert list(found) == [2, 7, 11]
    for number, frame_HWC in found.items():
        assert cells(frame_HWC[None], ((1, 0, 2),)) == [[[(1, number)], [(0, 0)], [(11, number)]]]  # type: ignore[arg-type]
    assert [place for place, _ in tiled.places] == videos


def test_what_is_seen_is_the_whole_picture(recorded: Path) -> None:
    video = recorded / "videos/front/chunk-000/file-000.mp4"
    tiled = Tiled(((Film(video), None),), SIDE, 2 * SIDE, "stretch")
    frames_THWC = np.concatenate([film(9), np.zeros((9, SIDE, SIDE, 3), np.uint8)], 2)
    seen, expected = tiled.looks(9), look_at(frames_THWC)
    assert np.abs(seen.thumbs.astype(int) - expected.thumbs).max() < 25
    assert len(tiled.looks(4).motion) == 4


@pytest.mark.usefixtures("by_time_of_bytes")
def test_what_is_seen_is_remembered_while_all_files_stay_as_they_are(tmp_path: Path) -> None:
    files = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for tag, file in enumerate(files):
        write_video(file, film(6, tag + 1), 16)
        aged(file)
    tiled = Tiled(((Film(files[0]), Film(files[1])),), SIDE, 2 * SIDE, "stretch")
    seen = tiled.looks(6)
    in_rows = replace(tiled, cells=((Film(files[0]),), (Film(files[1]),)))
    assert not np.array_equal(in_rows.looks(6).thumbs, seen.thumbs)
    states = [file.stat() for file in files]
    for file, state in zip(files, states, strict=True):
        file.write_bytes(bytes(state.st_size))  # nothing that could be decoded
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert np.array_equal(tiled.looks(6).thumbs, seen.thumbs)
    os.utime(files[1], ns=(0, states[1].st_mtime_ns + 1))
    with pytest.raises(DataError, match="the video is not an MP4"):
        tiled.looks(6)


@pytest.mark.parametrize(
    ("tile", "size"),
    [
        ([["front", "wrist"]], {"width": 127}),
        ([["front"], ["wrist"]], {"height": 127}),
        ([["front", "side"], ["wrist"]], {}),
        ([["front", "front"]], {}),
        ([["", ""]], {}),
        ([["front", "wrist"]], {"cameras": ["front"]}),
    ],
)
def test_tiles_that_make_no_picture_are_refused(recorded: Path, tile: Any, size: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="tile"):
        spec(recorded, tile, **size)


def test_a_camera_that_is_not_there_is_named(recorded: Path) -> None:
    with pytest.raises(DataError, match=r"no camera wrst.*Did you mean wrist\?"):
        open_dataset(spec(recorded, (("front", "wrst"),)))
    with pytest.raises(DataError, match="A tiled picture is one camera"):
        open_dataset(spec(recorded, (("front", "wrist"),), held_out_cameras=["front"]))


def test_a_lost_camera_loses_the_picture(tmp_path: Path) -> None:
    layout = {"front": [[0, 1, 2]], "wrist": [[0], [1], [2]]}
    root = write_packed_v3(tmp_path / "d", (8, 8, 8), layout)
    (root / "videos/wrist/chunk-001/file-001.mp4").unlink()
    dataset = take_stock(spec(root, (("front", "wrist"),)))
    told = {row.episode: (row.camera, row.reason) for row in dataset.ledger.rows if row.first_frame == 0}
    assert told == {
        "000000": ("front+wrist", ""),
        "000001": ("front+wrist", "the video file is missing (wrist)"),
        "000002": ("front+wrist", ""),
    }
    assert dataset.faults[0].startswith("1 of 3 recordings give no clip")


def write_demos(path: Path, **rows: int) -> Path:
    """A robomimic file with one demonstration: cameras a and b, and actions, of so many rows each."""
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = '{"env_kwargs": {"control_freq": 16}}'
        demo = data.create_group("demo_0")
        demo.attrs["language_instruction"] = "lift the cup"
        for tag, name in enumerate(("a", "b")):
            demo[f"obs/{name}_image"] = film(rows[name], tag + 1)
        demo["actions"] = np.arange(rows["actions"], dtype=np.float32)[:, None].repeat(2, 1)
    return path


def stock(path: Path) -> Dataset:
    return take_stock(spec(path, (("a_image", "b_image"),)))


@pytest.mark.parametrize("lengths", [(10, 8), (8, 10)])
def test_the_shortest_camera_is_how_long_it_is(tmp_path: Path, lengths: tuple[int, int]) -> None:
    a, b = lengths
    dataset = stock(write_demos(tmp_path / "d.hdf5", a=a, b=b, actions=a))
    kept, rest = dataset.ledger.rows
    assert kept.note == "as long as its shortest camera (8 of 10 frames)"
    assert (rest.frames, rest.reason) == (2, "left over at the episode's end (2 of 6 frames)")
    (clip,) = dataset.train
    assert cells(read_clip(clip), (("a", "b"),)) == [[[(tag, t) for t in range(6)] for tag in (1, 2)]]
    assert clip.actions is not None
    assert clip.actions[:, 0].tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("actions", [7, 12])
def test_rows_that_do_not_belong_to_the_frames_are_not_hidden(tmp_path: Path, actions: int) -> None:
    """Though the picture is cut, there are as many rows too many or too few as before."""
    (row,) = stock(write_demos(tmp_path / "d.hdf5", a=10, b=8, actions=actions)).ledger.rows
    assert row.reason == f"action rows and frames differ ({actions - 2} and 8)"
    (row,) = stock(write_demos(tmp_path / "e.hdf5", a=10, b=10, actions=actions)).ledger.rows
    assert row.reason == f"action rows and frames differ ({actions} and 10)"


def test_the_digest_knows_the_layout(recorded: Path) -> None:
    square = {"height": 128, "width": 128}
    layouts = [(("front", "wrist"),), (("wrist", "front"),), (("front",), ("wrist",)), (("front", ""), ("", "wrist"))]
    found = [open_dataset(spec(recorded, layout, **square)) for layout in layouts]
    found.append(open_dataset(spec(recorded, layouts[0], fit="cover", **square)))
    assert len({dataset.digest for dataset in found}) == 5
    assert len({content_digest(dataset.train[0]) for dataset in found}) == 5
    again = open_dataset(spec(recorded, layouts[0], **square))
    assert again.digest == found[0].digest


def test_the_digest_knows_what_lies_in_a_cell(recorded: Path) -> None:
    """A cell may itself be arranged."""
    video = recorded / "videos/front/chunk-000/file-000.mp4"
    (clip, *_) = open_dataset(spec(recorded, (("front", ""),))).train
    inner = [Tiled(((Film(video),),), size, size, "stretch") for size in (32, 64)]
    outer = [replace(clip, footage=Tiled(((each, None),), 64, 128, "stretch")) for each in inner]
    assert content_digest(outer[0]) != content_digest(outer[1])


def test_names_of_layouts() -> None:
    layout = (("a", "b"), ("", "c"))
    assert name_of(layout) == "a+b|+c"
    assert cameras_of(layout) == ["a", "b", "c"]
