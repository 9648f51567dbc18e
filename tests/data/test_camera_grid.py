import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from pydantic import ValidationError

from worldtune.data.camera_grid import Layout, TiledFootage, grid_cameras, grid_name
from worldtune.data.clip import content_digest, read_clip
from worldtune.data.dataset import Dataset, build_dataset, open_dataset
from worldtune.data.export.lerobot_writer import EpisodeData
from worldtune.data.spec import DataSpec
from worldtune.data.video.decode import write_video
from worldtune.data.video.footage import VideoFootage
from worldtune.data.video.frame_features import extract_frame_features
from worldtune.errors import DataError

from .scenes import aged, blurred, demonstration, write_dataset
from .videos import SIDE, film, read_back, write_packed_v3

LENGTHS = (9, 12)
CAMERAS = ("front", "side", "wrist")
TAGS = {camera: 10 * number for number, camera in enumerate(CAMERAS)}


def spec(root: Path, tile: Any, **settings: Any) -> DataSpec:
    """Return a spec without curation of darkness: frames of small numbers are mostly black."""
    size = {"height": SIDE * len(tile), "width": SIDE * len(tile[0])}
    fields = {"path": str(root), "tile": tile, "frames": 6, "fps": 16, "curate": {"black": False}}
    return DataSpec.model_validate(fields | size | settings)


def cells(frames_THWC: np.ndarray, layout: Layout) -> list[list[list[tuple[int, int]]]]:
    """Return what each cell shows."""
    rows = np.split(frames_THWC, len(layout), axis=1)
    return [[read_back(cell) for cell in np.split(row, len(layout[0]), axis=2)] for row in rows]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two episodes of three cameras. Tests must not change it."""
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
                filmed = [(TAGS.get(camera, 0) + int(clip.episode), pick) for pick in clip.frame_indices]
                assert shown == (filmed if camera else [(0, 0)] * 6)


def test_an_empty_cell_is_black(recorded: Path) -> None:
    for clip in open_dataset(spec(recorded, (("front", "side"), ("", "wrist")))).train:
        frames_THWC = read_clip(clip)
        assert not frames_THWC[:, SIDE:, :SIDE].any()
        assert frames_THWC[:, SIDE:, SIDE:].any()


def test_tiled_image_is_one_camera(recorded: Path) -> None:
    dataset = open_dataset(spec(recorded, (("front", "side"), ("", "wrist")), held_out=0.5))
    assert {row.camera for row in dataset.ledger.rows} == {"front+side|+wrist"}
    assert {clip.episode for clip in dataset.train}.isdisjoint(clip.episode for clip in dataset.held_out)
    assert dataset.ledger.recordings() == {(f"{e:06d}", "front+side|+wrist"): True for e in (0, 1)}


def test_each_cell_is_fitted_separately(recorded: Path) -> None:
    (clip, *_) = open_dataset(spec(recorded, (("front", "wrist"),), height=32, width=256, fit="letterbox")).train
    left, right = np.split(read_clip(clip), 2, axis=2)
    for half, tag in ((left, 0), (right, 20)):
        assert not half[:, :, :48].any()
        assert not half[:, :, 80:].any()
        assert read_back(half[:, :, 48:80]) == [(tag, pick) for pick in clip.frame_indices]


def test_tiled_frames_are_read_by_number(recorded: Path) -> None:
    videos = [recorded / f"videos/{camera}/chunk-000/file-000.mp4" for camera in ("front", "side")]
    tiled = TiledFootage(((VideoFootage(videos[0], 9), None, VideoFootage(videos[1], 9)),), SIDE, 3 * SIDE, "stretch")
    found = dict(tiled.frames([2, 7, 11, 40]))
    assert list(found) == [2, 7, 11]
    for number, frame_HWC in found.items():
        assert cells(frame_HWC[None], ((1, 0, 2),)) == [[[(1, number)], [(0, 0)], [(11, number)]]]  # type: ignore[arg-type]
    assert [place for place, _ in tiled.locations] == videos


def test_tile_features_cover_the_whole_image(recorded: Path) -> None:
    video = recorded / "videos/front/chunk-000/file-000.mp4"
    tiled = TiledFootage(((VideoFootage(video), None),), SIDE, 2 * SIDE, "stretch")
    frames_THWC = np.concatenate([film(9), np.zeros((9, SIDE, SIDE, 3), np.uint8)], 2)
    features, expected = tiled.frame_features(9), extract_frame_features(frames_THWC)
    assert np.abs(features.thumbs.astype(int) - expected.thumbs).max() < 25
    assert len(tiled.frame_features(4).motion) == 4


@pytest.mark.usefixtures("by_time_of_bytes")
def test_tile_features_are_cached_until_a_file_changes(tmp_path: Path) -> None:
    files = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for tag, file in enumerate(files):
        write_video(file, film(6, tag + 1), 16)
        aged(file)
    tiled = TiledFootage(((VideoFootage(files[0]), VideoFootage(files[1])),), SIDE, 2 * SIDE, "stretch")
    features = tiled.frame_features(6)
    in_rows = replace(tiled, cells=((VideoFootage(files[0]),), (VideoFootage(files[1]),)))
    assert not np.array_equal(in_rows.frame_features(6).thumbs, features.thumbs)
    states = [file.stat() for file in files]
    for file, state in zip(files, states, strict=True):
        file.write_bytes(bytes(state.st_size))  # not decodable
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert np.array_equal(tiled.frame_features(6).thumbs, features.thumbs)
    os.utime(files[1], ns=(0, states[1].st_mtime_ns + 1))
    with pytest.raises(DataError, match="the video is not an MP4"):
        tiled.frame_features(6)


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
def test_invalid_tiles_are_errors(recorded: Path, tile: Any, size: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="tile"):
        spec(recorded, tile, **size)


def test_unknown_tile_camera_is_an_error(recorded: Path) -> None:
    with pytest.raises(DataError, match=r"no camera wrst.*Did you mean wrist\?"):
        open_dataset(spec(recorded, (("front", "wrst"),)))
    with pytest.raises(DataError, match="A tiled image is one camera"):
        open_dataset(spec(recorded, (("front", "wrist"),), held_out_cameras=["front"]))


def test_missing_camera_skips_the_tiled_recording(tmp_path: Path) -> None:
    layout = {"front": [[0, 1, 2]], "wrist": [[0], [1], [2]]}
    root = write_packed_v3(tmp_path / "d", (8, 8, 8), layout)
    (root / "videos/wrist/chunk-001/file-001.mp4").unlink()
    dataset = build_dataset(spec(root, (("front", "wrist"),)))
    reported = {row.episode: (row.camera, row.reason) for row in dataset.ledger.rows if row.first_frame == 0}
    assert reported == {
        "000000": ("front+wrist", ""),
        "000001": ("front+wrist", "the video file is missing (videos/wrist/chunk-001/file-001.mp4) (wrist)"),
        "000002": ("front+wrist", ""),
    }
    assert dataset.faults[0].message.startswith("1 of 3 recordings give no clip")


def write_demos(path: Path, **rows: int) -> Path:
    """Write a robomimic file with one demonstration: cameras a and b, and actions, with these numbers of rows."""
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = '{"env_kwargs": {"control_freq": 16}}'
        demo = data.create_group("demo_0")
        demo.attrs["language_instruction"] = "lift the cup"
        for tag, name in enumerate(("a", "b")):
            demo[f"obs/{name}_image"] = film(rows[name], tag + 1)
        demo["actions"] = np.arange(rows["actions"], dtype=np.float32)[:, None].repeat(2, 1)
    return path


def build(path: Path) -> Dataset:
    return build_dataset(spec(path, (("a_image", "b_image"),)))


@pytest.mark.parametrize("lengths", [(10, 8), (8, 10)])
def test_tiled_recording_has_the_shortest_camera_length(tmp_path: Path, lengths: tuple[int, int]) -> None:
    a, b = lengths
    dataset = build(write_demos(tmp_path / "d.hdf5", a=a, b=b, actions=a))
    kept, rest = dataset.ledger.rows
    assert kept.note == "cut to the length of its shortest camera (8 of 10 frames)"
    assert (rest.frames, rest.reason) == (2, "left over at the episode's end (2 of 6 frames)")
    (clip,) = dataset.train
    assert cells(read_clip(clip), (("a", "b"),)) == [[[(tag, t) for t in range(6)] for tag in (1, 2)]]
    assert clip.actions is not None
    assert clip.actions[:, 0].tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("actions", [7, 12])
def test_tiling_does_not_hide_a_row_count_mismatch(tmp_path: Path, actions: int) -> None:
    """The image is cropped, but as many rows are missing or surplus as before."""
    (row,) = build(write_demos(tmp_path / "d.hdf5", a=10, b=8, actions=actions)).ledger.rows
    assert row.reason == f"action rows and frames differ ({actions - 2} and 8)"
    (row,) = build(write_demos(tmp_path / "e.hdf5", a=10, b=10, actions=actions)).ledger.rows
    assert row.reason == f"action rows and frames differ ({actions} and 10)"


def test_digest_covers_the_layout(recorded: Path) -> None:
    square = {"height": 128, "width": 128}
    layouts = [(("front", "wrist"),), (("wrist", "front"),), (("front",), ("wrist",)), (("front", ""), ("", "wrist"))]
    found = [open_dataset(spec(recorded, layout, **square)) for layout in layouts]
    found.append(open_dataset(spec(recorded, layouts[0], fit="cover", **square)))
    assert len({dataset.digest for dataset in found}) == 5
    assert len({content_digest(dataset.train[0]) for dataset in found}) == 5
    again = open_dataset(spec(recorded, layouts[0], **square))
    assert again.digest == found[0].digest


def test_digest_covers_nested_cells(recorded: Path) -> None:
    """A cell may be a grid itself."""
    video = recorded / "videos/front/chunk-000/file-000.mp4"
    (clip, *_) = open_dataset(spec(recorded, (("front", ""),))).train
    inner = [TiledFootage(((VideoFootage(video),),), size, size, "stretch") for size in (32, 64)]
    outer = [replace(clip, footage=TiledFootage(((each, None),), 64, 128, "stretch")) for each in inner]
    assert content_digest(outer[0]) != content_digest(outer[1])


def test_names_of_layouts() -> None:
    layout = (("a", "b"), ("", "c"))
    assert grid_name(layout) == "a+b|+c"
    assert grid_cameras(layout) == ["a", "b", "c"]


def walls(length: int, seed: int) -> np.ndarray:
    """Return uint8 (T, 64, 64, 3): rough tiles that move."""
    tiles = np.random.default_rng(seed).integers(60, 200, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    return np.stack([np.roll(tiles, (t, 2 * t), (0, 1)) for t in range(length)])


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write episodes with a black, white or blurred left camera or a frozen right one; the others are good."""

    def episode(seed: int) -> EpisodeData:
        left, right = walls(12, seed), walls(12, seed + 100)
        made = {
            0: (0 * left, right),
            1: (left, right[:1].repeat(12, 0)),
            2: (left // 32 + 247, right),
            3: (blurred(left), right),
        }
        shown = made.get(seed, (left, right))
        return demonstration(dict(zip(("left", "right"), shown, strict=True)), seed)

    root = tmp_path_factory.mktemp("faulty") / "d"
    return write_dataset(root, [episode(seed) for seed in range(24)], ["left", "right"])


@pytest.mark.parametrize("tile", [None, [["left", "right"]], [["right"], ["left"]], [["left", "", "right"]]])
def test_each_cell_is_curated_separately(faulty: Path, tile: Any) -> None:
    """A fault of a single camera is also found in the tile that shows it, and the camera is named."""
    rows, columns = (len(tile), len(tile[0])) if tile else (1, 1)
    settings = {"height": 32 * rows, "width": 32 * columns, "curate": {"swapped": False}}
    fields = {"path": str(faulty), "tile": tile, "frames": 12, "fps": 16, **settings}
    ledger = build_dataset(DataSpec.model_validate(fields)).ledger
    reported = {row.episode: (row.camera, row.reason) for row in ledger.rows if not row.kept}
    where = dict.fromkeys(("left", "right"), "") if tile is None else {"left": "left: ", "right": "right: "}
    expected = {
        "000000": ("left", f"black ({where['left']}brightness 0.0, below 12 of 255)"),
        "000001": ("right", f"frozen camera ({where['right']}the image changes by "),
        "000002": ("left", f"overexposed ({where['left']}brightness 2"),
        "000003": ("left", f"blurred ({where['left']}sharpness "),
    }
    assert set(reported) == set(expected)
    for episode, (camera, reason) in expected.items():
        assert reported[episode][1].startswith(reason)
        assert reported[episode][0] == (camera if tile is None else grid_name(tile))
