"""HDF5 files that claim more than they store, and images compressed many at a time."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from conftest import WORLDTUNE
from worldtune.data.sources import open_source
from worldtune.errors import DataError

from ...demo_files import CAMERA, write_demos
from ...reading import build, episode, numbers, skipped
from ...videos import film

FRAMES = (64, 64, 3)


def with_images(path: Path, length: int, **options: Any) -> Path:
    """Write two demonstrations; `options` create the images of the first."""
    write_demos(path, {"demo_0": length, "demo_1": 9})
    with h5py.File(path, "a") as file:
        del file[f"data/demo_0/obs/{CAMERA}"]
        file["data/demo_0/obs"].create_dataset(CAMERA, **options)
    return path


@pytest.mark.parametrize("frames", [1, 7, 12, 64])
@pytest.mark.parametrize("side", [64, 24])
def test_packed_frames_are_those_of_the_file(tmp_path: Path, frames: int, side: int) -> None:
    chunk = (frames, side, side, 3)
    path = with_images(tmp_path / "a.hdf5", 64, data=film(64), chunks=chunk, compression="gzip")
    assert skipped(path) == {}
    found = episode(path, CAMERA)
    assert numbers(found) == list(range(64))
    assert [number for number, _ in found.footage.frames([3, 11, 12, 13, 60, 70])] == [3, 11, 12, 13, 60]


def test_large_chunk_is_unpacked_once(tmp_path: Path) -> None:
    zeros = np.zeros((4000, *FRAMES), np.uint8)
    path = with_images(tmp_path / "a.hdf5", 4000, data=zeros, chunks=(4000, *FRAMES), compression="gzip")
    done = subprocess.run([*WORLDTUNE, "inspect", str(path)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("chunks", [None, (100, *FRAMES)])
def test_unwritten_frames_are_skipped(tmp_path: Path, chunks: tuple[int, ...] | None) -> None:
    path = with_images(tmp_path / "a.hdf5", 8, shape=(10**7, *FRAMES), dtype=np.uint8, chunks=chunks)
    assert skipped(path) == {"demo_0": f"a part of it was never written ({CAMERA})"}


def test_partly_written_frames_are_skipped(tmp_path: Path) -> None:
    path = with_images(tmp_path / "a.hdf5", 40, shape=(40, *FRAMES), dtype=np.uint8, chunks=(8, *FRAMES))
    with h5py.File(path, "a") as file:
        file[f"data/demo_0/obs/{CAMERA}"][:32] = film(32)
    assert skipped(path) == {"demo_0": f"a part of it was never written ({CAMERA})"}


def test_unwritten_rows_are_skipped(tmp_path: Path) -> None:
    path = write_demos(tmp_path / "a.hdf5", {"demo_0": 9, "demo_1": 9})
    with h5py.File(path, "a") as file:
        del file["data/demo_0/actions"]
        file["data/demo_0"].create_dataset("actions", (10**9, 7), "f8", chunks=(10**4, 7))
    assert skipped(path) == {"demo_0": "a part of it was never written (actions)"}


def test_doubly_compressed_images_are_skipped(tmp_path: Path) -> None:
    path = write_demos(tmp_path / "a.hdf5", {"demo_0": 9, "demo_1": 9})
    with h5py.File(path, "a") as file:
        del file[f"data/demo_0/obs/{CAMERA}"]
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_chunk((20_000, *FRAMES))
        made.set_deflate(9)
        made.set_deflate(9)
        space = h5py.h5s.create_simple((20_000, *FRAMES))
        h5py.h5d.create(file["data/demo_0/obs"].id, CAMERA.encode(), h5py.h5t.STD_U8LE, space, made)
        file[f"data/demo_0/obs/{CAMERA}"][...] = np.zeros((20_000, *FRAMES), np.uint8)
    assert path.stat().st_size < 700_000
    assert "it claims 245,760,000 bytes, but only " in skipped(path)["demo_0"]


def test_repeated_links_to_one_array_are_an_error(tmp_path: Path) -> None:
    zeros = np.zeros((4000, *FRAMES), np.uint8)
    path = with_images(tmp_path / "a.hdf5", 9, data=zeros, chunks=(4000, *FRAMES), compression="gzip")
    with h5py.File(path, "a") as file:
        for number in range(2, 200):
            file[f"data/demo_{number}"] = file["data/demo_0"]
    with pytest.raises(DataError, match=r"its demonstrations claim .* bytes, but the file has"):
        open_source(str(path))


def test_highly_compressed_images_are_read(tmp_path: Path) -> None:
    black = np.zeros((800, *FRAMES), np.uint8)
    path = with_images(tmp_path / "a.hdf5", 800, data=black, chunks=(800, *FRAMES), compression="gzip", shuffle=True)
    assert skipped(path) == {}
    assert {clip.episode for clip in build(path, caption="a robot").clips} == {"demo_1"}  # nothing moves in the other


@pytest.mark.parametrize(
    "link",
    [
        lambda other: h5py.ExternalLink(str(other), "data/demo_0/obs"),
        lambda other: h5py.SoftLink("/way"),
        lambda other: h5py.SoftLink("/way/../way"),
        lambda other: h5py.SoftLink("/loop"),
    ],
)
def test_link_to_another_file_is_not_opened(tmp_path: Path, link: Callable[[Path], Any]) -> None:
    os.mkfifo(tmp_path / "other.hdf5")  # opening it would block
    path = write_demos(tmp_path / "a.hdf5", {"demo_0": 9, "demo_1": 9})
    with h5py.File(path, "a") as file:
        del file["data/demo_0/obs"]
        file["way"] = h5py.ExternalLink("other.hdf5", "/")
        file["loop"] = h5py.SoftLink("/loop")
        file["data/demo_0/obs"] = link(tmp_path / "other.hdf5")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), *sys.path])}
    code = f"from data.reading import skipped; from pathlib import Path; print(skipped(Path({str(path)!r})))"
    done = subprocess.run([WORLDTUNE[0], "-c", code], capture_output=True, text=True, check=True, timeout=100, env=env)
    assert " link" in done.stdout
