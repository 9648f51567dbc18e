import json
import os
import zipfile
from pathlib import Path
from typing import Any

import imagecodecs.numcodecs
import numcodecs
import numpy as np
import pytest
import zarr

from worldtune.data.clip import read_clip
from worldtune.data.episode import Episode, SkippedRecording
from worldtune.data.ledger import DEPTH
from worldtune.data.sources import open_source
from worldtune.errors import DataError

from ...reading import build, frames, recordings
from ...videos import film, read_back
from ...zarr_files import LENGTHS, arrays_of, write_zarr

imagecodecs.numcodecs.register_codecs(verbose=False)
JPEGXL = imagecodecs.numcodecs.Jpegxl(level=99, numthreads=1)
CODECS: dict[str, tuple[int, Any, tuple[int, ...]]] = {
    "umi": (2, JPEGXL, ()),
    "diffusion policy": (2, numcodecs.Blosc("zstd", 5, numcodecs.Blosc.BITSHUFFLE), (5, 64, 64, 3)),
    "plain": (2, None, ()),
    "zlib": (2, numcodecs.Zlib(1), (7, 32, 48, 3)),
    "gzip": (2, numcodecs.GZip(1), ()),
    "bz2": (2, numcodecs.BZ2(1), ()),
    "lz4": (2, numcodecs.LZ4(), ()),
    "zstd": (2, numcodecs.Zstd(3), ()),
    "format 3": (3, "auto", (5, 32, 64, 3)),
    "format 3, blosc": (3, zarr.codecs.BloscCodec(), (4, 64, 64, 2)),
    "format 3, gzip": (3, zarr.codecs.GzipCodec(), ()),
    "format 3, plain": (3, None, ()),
}


def found_in(path: Path, *cameras: str) -> list[Episode]:
    every = recordings(path, *cameras, fps=16)
    assert all(isinstance(recording, Episode) for recording in every), every
    return [recording for recording in every if isinstance(recording, Episode)]


@pytest.mark.parametrize("how", CODECS)
def test_frames_and_rows_are_those_that_zarr_reads(tmp_path: Path, how: str) -> None:
    version, packed, chunk = CODECS[how]
    path = write_zarr(tmp_path / "replay.zarr", None, LENGTHS, version, packed, chunk)
    right = zarr.open_group(str(path), mode="r")
    start = 0
    found = found_in(path)
    assert [recording.name for recording in found] == ["episode_0", "episode_1", "episode_2"]
    for recording, length in zip(found, LENGTHS, strict=True):
        rows = slice(start, start := start + length)
        assert np.array_equal(frames(recording), right["data/camera0_rgb"][rows])
        assert recording.states is not None
        assert np.array_equal(recording.states[:, :3], right["data/robot0_eef_pos"][rows])
        assert recording.actions is not None
        assert np.array_equal(recording.actions, right["data/action"][rows])
        assert (recording.session, recording.fps, recording.height, recording.width) == ("replay", 16, 64, 64)
    if packed is not JPEGXL:
        assert [read_back(frames(recording)) for recording in found] == [
            [(tag, t) for t in range(length)] for tag, length in enumerate(LENGTHS)
        ]


@pytest.mark.parametrize("version", [2, 3])
def test_zip_file_is_read_like_its_folder(tmp_path: Path, version: int) -> None:
    path = write_zarr(tmp_path / "cup.zarr.zip", version=version)
    source = open_source(str(path), 16)
    assert (source.kind, source.cameras, source.count) == ("Zarr", ["camera0_rgb"], 3)
    assert source.state_names == [f"robot0_eef_pos_{n}" for n in range(3)] + ["robot0_gripper_width"]
    assert [read_back(frames(recording)) for recording in found_in(path)] == [
        [(tag, t) for t in range(length)] for tag, length in enumerate(LENGTHS)
    ]
    clips = build(path, caption="a hand", recorded_fps=16).train
    assert [read_back(read_clip(clip))[0] for clip in clips] == [(0, 0), (1, 0), (2, 0), (2, 8)]
    assert {clip.sha256 for clip in clips} == {clips[0].sha256}


def test_clip_digest_covers_the_chunks_of_its_episode(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "replay.zarr")
    before = build(path, caption="a hand", recorded_fps=16)
    chunk = path / "data/camera0_rgb/13.0.0.0"  # the second frame of the second episode
    assert {chunk in [file for file, _ in clip.footage.locations] for clip in before.train} == {True, False}
    write_zarr(tmp_path / "other.zarr", arrays_of() | {"camera0_rgb": arrays_of()["camera0_rgb"][::-1].copy()})
    chunk.write_bytes((tmp_path / "other.zarr/data/camera0_rgb/13.0.0.0").read_bytes())
    after = build(path, caption="a hand", recorded_fps=16)
    assert [one.sha256 == other.sha256 for one, other in zip(before.train, after.train, strict=True)] == [
        True, False, True, True,
    ]  # fmt: skip


def test_floats_up_to_255_are_images(tmp_path: Path) -> None:
    arrays = {"img": film(12, 5).astype(np.float32), "state": np.zeros((12, 5)), "action": np.zeros((12, 2))}
    arrays["depth"] = np.zeros((12, 64, 64, 1), np.float32)
    path = write_zarr(tmp_path / "pusht.zarr", arrays, (12,))
    (found,) = found_in(path, "img")
    assert np.array_equal(frames(found), film(12, 5))
    assert found.states is not None
    assert found.states.shape == (12, 5)
    assert {row.camera: row.reason for row in build(path, caption="a", recorded_fps=16, max_skipped=0).ledger.rows}[
        "depth"
    ] == DEPTH


@pytest.mark.parametrize("how", ["diffusion policy", "zstd", "format 3", "gzip", "zlib", "bz2"])
@pytest.mark.parametrize("damage", ["noise", "cut", "more"])
def test_damaged_chunk_skips_its_episode(tmp_path: Path, how: str, damage: str) -> None:
    version, packed, chunk = CODECS[how]
    path = write_zarr(tmp_path / "replay.zarr", None, LENGTHS, version, packed, chunk)
    chunks = (file for file in (path / "data/camera0_rgb").rglob("*0") if file.is_file())
    file = max(chunks, key=lambda file: file.stat().st_size)
    data = file.read_bytes()
    file.write_bytes({"noise": bytes(20) + data[20:], "cut": data[:-2], "more": data + b"more"}[damage])
    reasons = [recording.reason for recording in recordings(path, fps=16) if isinstance(recording, SkippedRecording)]
    assert 1 <= len(reasons) <= 2  # two may share a chunk
    assert all(reason.startswith("a chunk cannot be decompressed") for reason in reasons)


def test_chunk_that_is_not_a_file_is_not_read_as_empty(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "replay.zarr")
    for name in ("pipe", "link"):
        chunk = path / f"data/camera0_rgb/{dict(pipe=1, link=13)[name]}.0.0.0"
        chunk.unlink()
        os.mkfifo(chunk) if name == "pipe" else chunk.symlink_to(chunk.name)
    assert [isinstance(recording, SkippedRecording) for recording in recordings(path, fps=16)] == [True, True, False]


def test_states_are_not_read_where_one_of_their_arrays_is_damaged(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "replay.zarr")
    (path / "data/robot0_gripper_width/.zarray").write_text("{")
    assert [recording.states for recording in found_in(path, "camera0_rgb")] == [None] * 3
    problems = open_source(str(path), 16).problems()
    assert [problem.camera for problem in problems] == ["robot0_gripper_width"]


def test_the_rate_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"do not state their frame rate .*data\.recorded_fps.*59\.94"):
        open_source(str(write_zarr(tmp_path / "replay.zarr")))


def change(path: Path, **values: Any) -> None:
    metadata = path / "data/camera0_rgb/.zarray"
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"dtype": "|O", "filters": [{"id": "pickle"}]}, "its dtype is '|O'"),
        ({"filters": [{"id": "pickle", "protocol": 5}]}, "it has filters (pickle)"),
        ({"compressor": {"id": "pickle", "protocol": 5}}, "its codec 'pickle' is not supported"),
        ({"dtype": [["x", "<f4"]]}, "its dtype is [['x', '<f4']]"),
        ({"shape": [10**9, 64, 64, 3]}, "it claims 12,288,000,000,000 bytes, but only "),
        ({"shape": [10**9, 1, 1, 1], "chunks": [1, 1, 1, 1], "dtype": "|i1"}, "it claims 1,000,000,000 "),
        ({"chunks": [1, 10**6, 10**6, 3]}, "its chunks have 3,000,000,000,000 bytes each"),
        ({"shape": [10**6, 64, 64, 3]}, "it claims 12,288,000,000 bytes, but only "),
        ({"shape": [20, 64, 64, 3]}, "fewer frames than meta/episode_ends states (20 of 41)"),
        ({"fill_value": 256}, "its metadata are not those of Zarr 2 or 3: Python integer 256 out of bounds for uint8"),
        ({"shape": ["x"]}, "its metadata are not those of Zarr 2 or 3: shape and chunks are not whole numbers"),
        (
            {"chunks": [1, 64, 0, 3]},
            "its metadata are not those of Zarr 2 or 3: shape, chunks, order or separator out of range",
        ),
    ],
)
def test_unsafe_or_oversized_zarr_array_is_an_error(tmp_path: Path, values: Any, reason: str) -> None:
    path = write_zarr(tmp_path / "replay.zarr")
    change(path, **values)
    with pytest.raises(DataError) as refusal:
        open_source(str(path), 16)
    assert refusal.value.what.startswith(reason)


@pytest.mark.parametrize("packed", [JPEGXL, numcodecs.Blosc(), numcodecs.Zlib(), numcodecs.LZ4(), "auto", None])
def test_damaged_chunk_skips_only_its_episode(tmp_path: Path, packed: Any) -> None:
    path = write_zarr(tmp_path / "replay.zarr", packed=packed)
    for number, harm in ((3, b""), (13, b"\xff" * 40)):
        chunk = path / f"data/camera0_rgb/{number}.0.0.0"
        chunk.write_bytes(harm + chunk.read_bytes()[len(harm) : -20 if number == 3 else None])
    found = recordings(path, fps=16)
    skipped = {recording.name: recording.reason for recording in found if not isinstance(recording, Episode)}
    assert sorted(skipped) == (["episode_0"] if packed is None else ["episode_0", "episode_1"])
    assert all(reason.startswith("a chunk cannot be decompressed (") for reason in skipped.values())


@pytest.mark.parametrize("side", [1024, 16])
@pytest.mark.parametrize("packed", [JPEGXL, numcodecs.Blosc(), numcodecs.Zlib(), numcodecs.LZ4(), "auto"])
def test_chunk_of_wrong_size_is_an_error(tmp_path: Path, packed: Any, side: int) -> None:
    path = write_zarr(tmp_path / "replay.zarr", packed=packed)
    other = {"camera0_rgb": np.ones((1, side, side, 3), np.uint8)}
    larger = write_zarr(tmp_path / "larger.zarr", other, (1,), packed=packed)
    (path / "data/camera0_rgb/3.0.0.0").write_bytes((larger / "data/camera0_rgb/0.0.0.0").read_bytes())
    skipped = [recording.reason for recording in recordings(path, fps=16) if not isinstance(recording, Episode)]
    assert len(skipped) == 1
    assert skipped[0].startswith("a chunk cannot be decompressed (")


def test_damaged_zip_file_is_skipped(tmp_path: Path) -> None:
    write_zarr(tmp_path / "d/fine.zarr")
    cut = write_zarr(tmp_path / "d/cut.zarr.zip")
    cut.write_bytes(cut.read_bytes()[:-30])
    with zipfile.ZipFile(tmp_path / "d/empty.zarr.zip", "w") as empty:
        empty.writestr("notes", "none")
    os.mkfifo(tmp_path / "d/pipe.zarr.zip")
    skipped = {
        recording.name: recording.reason
        for recording in recordings(tmp_path / "d", fps=16)
        if not isinstance(recording, Episode)
    }
    assert skipped == {
        "cut": "the zip file cannot be read: File is not a zip file",
        "empty": "the array meta/episode_ends is missing",
        "pipe": "not a file",
    }


@pytest.mark.parametrize("ends", [[5, 3, 41], [-1, 41], []])
def test_ends_that_do_not_rise_are_errors(tmp_path: Path, ends: list[int]) -> None:
    path = write_zarr(tmp_path / "replay.zarr")
    zarr.open_group(str(path), mode="a").create_array("meta/episode_ends", data=np.array(ends, int), overwrite=True)
    with pytest.raises(DataError, match="meta/episode_ends"):
        open_source(str(path), 16)


def test_too_few_rows_are_an_error(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "replay.zarr", arrays_of() | {"action": np.zeros((30, 2))})
    dataset = build(path, caption="a hand", recorded_fps=16)
    assert [(problem.level, problem.what) for problem in dataset.problems] == [
        ("error", "action: 30 rows, but 41 frames")
    ]
    assert {row.episode: row.reason for row in dataset.ledger.rows if not row.kept and not row.first_frame} == {
        "episode_2": "action rows and frames differ (9 and 20)"
    }
