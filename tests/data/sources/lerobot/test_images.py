import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from worldtune.data.clip import read_clip
from worldtune.data.dataset import build_dataset
from worldtune.data.episode import Episode, SkippedRecording
from worldtune.data.sources import open_source
from worldtune.data.spec import DataSpec

from ...tables import DATA, set_column
from ...videos import edit_info, film, write_packed_v3, write_v2

LENGTHS = (7, 12, 9)
SNAP = "observation.snap"
PICTURE = {"dtype": "image", "shape": [64, 64, 3], "names": ["height", "width", "channel"]}


def encoded(frames_THWC: np.ndarray, kind: str = "PNG") -> list[bytes]:
    found = []
    for frame_HWC in frames_THWC:
        file = io.BytesIO()
        Image.fromarray(frame_HWC).save(file, kind)
        found.append(file.getvalue())
    return found


def cells(images: list[bytes]) -> pa.Array:
    """Return the column that huggingface/datasets writes for its Image feature."""
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    return pa.array([{"bytes": data, "path": f"frame-{t:06d}.png"} for t, data in enumerate(images)], kind)


def add_feature(root: Path, feature: dict[str, Any]) -> None:
    features = json.loads((root / "meta/info.json").read_text())["features"]
    edit_info(root, features=features | {SNAP: feature})


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    """Write a dataset with images only, one file per episode."""
    root = write_v2(tmp_path / "v2", LENGTHS, cameras=())
    edit_info(root, video_path=None)
    add_feature(root, PICTURE)
    for e, length in enumerate(LENGTHS):
        set_column(root / f"data/chunk-000/episode_{e:06d}.parquet", SNAP, cells(encoded(film(length, e))))
    return root


@pytest.fixture
def v3(tmp_path: Path) -> Path:
    """Write a dataset with images and a video, all rows in one file of several row groups."""
    root = write_packed_v3(tmp_path / "v3", LENGTHS, {"front": [[0, 1, 2]]})
    add_feature(root, PICTURE)
    images = [data for e, length in enumerate(LENGTHS) for data in encoded(film(length, e))]
    set_column(root / DATA, SNAP, cells(images))
    pq.write_table(pq.read_table(root / DATA), root / DATA, row_group_size=5)
    return root


def found(root: Path) -> list[Episode | SkippedRecording]:
    return list(open_source(str(root)).recordings([SNAP]))


def frames_of(recording: Episode | SkippedRecording) -> np.ndarray:
    assert isinstance(recording, Episode), recording
    return np.stack([frame_HWC for _, frame_HWC in recording.footage.frames(range(recording.frames))])


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_images_are_frames(version: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(version)
    for e, recording in enumerate(found(root)):
        assert np.array_equal(frames_of(recording), film(LENGTHS[e], e))
        assert isinstance(recording, Episode)
        assert recording.states is not None
        assert (recording.height, recording.width, recording.fps, len(recording.states)) == (64, 64, 16, LENGTHS[e])
        assert [t for t, _ in recording.footage.frames([1, 4, 99])] == [1, 4]
    assert open_source(str(root)).problems() == []


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_image_recordings_give_clips(version: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(version)
    spec = DataSpec(path=str(root), cameras=[SNAP], frames=6, fps=8, height=64, width=64, max_skipped=1)
    dataset = build_dataset(spec)
    clips = {int(clip.episode): clip for clip in dataset.train}
    assert sorted(clips) == [1]  # 7 and 9 frames at 16 fps are too few at 8 fps
    assert np.array_equal(read_clip(clips[1]), film(12, 1)[::2])
    assert dataset.digest == build_dataset(spec).digest


def test_jpeg_and_plain_binary_columns_are_read(v2: Path) -> None:
    """One column has JPEGs, the other bytes without a path."""
    path = v2 / "data/chunk-000/episode_000000.parquet"
    jpegs = encoded(film(7), "JPEG")
    for column in (cells(jpegs), pa.array(jpegs, pa.binary()), pa.array(jpegs, pa.large_binary())):
        set_column(path, SNAP, column)
        expected = np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in jpegs])
        assert np.array_equal(frames_of(found(v2)[0]), expected)


@pytest.mark.parametrize(("dash", "in_table"), [("_", True), ("-", False)])
def test_image_files_are_frames(v2: Path, dash: str, in_table: bool) -> None:
    """lerobot stores image files while it records."""
    for e, length in enumerate(LENGTHS):
        folder = v2 / f"images/{SNAP}/episode{dash}{e:06d}"
        folder.mkdir(parents=True)
        for t, data in enumerate(encoded(film(length, e))):
            (folder / f"frame{dash}{t:06d}.png").write_bytes(data)
        kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        names = pa.array([{"bytes": None, "path": f"x/frame{dash}{t:06d}.png"} for t in range(length)], kind)
        set_column(v2 / f"data/chunk-000/episode_{e:06d}.parquet", SNAP, names if in_table else None)
    for e, recording in enumerate(found(v2)):
        assert np.array_equal(frames_of(recording), film(LENGTHS[e], e))
        assert isinstance(recording, Episode)
        assert recording.footage.frame_features(LENGTHS[e]).thumbs.shape == (LENGTHS[e], 16, 16)


def test_damaged_image_skips_only_its_recording(v2: Path) -> None:
    images = encoded(film(7))
    images[3] = images[3][:60]
    set_column(v2 / "data/chunk-000/episode_000000.parquet", SNAP, cells(images))
    first, *others = found(v2)
    assert isinstance(first, SkippedRecording)
    assert first.reason.startswith("the picture cannot be read: ")
    assert all(isinstance(recording, Episode) for recording in others)


def test_missing_images_are_reported(v2: Path) -> None:
    data = [v2 / f"data/chunk-000/episode_{e:06d}.parquet" for e in range(3)]
    set_column(data[0], SNAP, None)
    images = encoded(film(12, 1))
    set_column(data[1], SNAP, cells([*images[:5], *encoded(np.zeros((1, 32, 64, 3), np.uint8)), *images[6:]]))
    pq.write_table(pq.read_table(data[2]).slice(0, 8), data[2])
    assert [recording.reason for recording in found(v2) if isinstance(recording, SkippedRecording)] == [
        f"no images: neither in data/chunk-000/episode_000000.parquet nor in images/{SNAP}/episode_000000",
        "its images have different sizes (64×64 and, at frame 5, 32×64)",
        "fewer images than the metadata states (8 of 9)",
    ]


@pytest.mark.parametrize("name", ["observation.depth", SNAP])
def test_depth_map_is_skipped(v2: Path, name: str) -> None:
    flat = PICTURE | {"shape": [64, 64, 1]}
    edit_info(v2, features={name: flat if name != SNAP else PICTURE | {"info": {"is_depth_map": True}}})
    skipped = open_source(str(v2)).recordings([name])
    assert {recording.reason for recording in skipped if isinstance(recording, SkippedRecording)} == {
        "a depth map, not a picture"
    }
