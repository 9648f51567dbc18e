"""Readers of Zarr groups of diffusion policy and UMI, compared with the zarr package itself.

Shapes: N frames of all episodes, T of one, S state and A action dimensions.
"""

import shutil
import warnings
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzzing.attempt import Raised, attempt
from benchmarks.fuzzing.datasets import COUNT, Recording, agree, dataset_reader
from benchmarks.fuzzing.pictures import FPS, LENGTH, clip
from benchmarks.fuzzing.reader import Reader, RefusedError

FILES = ("*.zip", "**/.zarray", "**/.zgroup", "**/zarr.json", "**/[0-9]*")
CAMERA, STATES = "camera0_rgb", ("robot0_eef_pos", "robot0_gripper_width")


def _make_zarr(version: Any, packed: bool, folder: Path) -> None:
    """Write a group as ReplayBuffer does, several frames per chunk, or a zip file as UMI does, one frame per chunk."""
    import zarr

    N = COUNT * LENGTH
    arrays = {
        CAMERA: np.concatenate([clip(number)[:, ::2, ::2] for number in range(COUNT)]),
        "robot0_eef_pos": np.arange(3 * N, dtype=np.float32).reshape(N, 3),
        "robot0_gripper_width": np.linspace(0, 1, N, dtype=np.float64)[:, None],
        "action": np.arange(2 * N, dtype=np.float32).reshape(N, 2)[::-1].copy(),
    }
    root = zarr.open_group(str(folder / "d.zarr"), mode="w", zarr_format=version)
    with warnings.catch_warnings(action="ignore"):
        for name, array in arrays.items():
            root.create_array(f"data/{name}", data=array, chunks=(1 if packed else 20, *array.shape[1:]))
        root.create_array("meta/episode_ends", data=LENGTH * np.arange(1, COUNT + 1))
    if packed:
        shutil.make_archive(str(folder / "d.zarr"), "zip", folder / "d.zarr")
        shutil.rmtree(folder / "d.zarr")


def _expect_zarr(name: str, folder: Path) -> dict[str, Any]:
    """Return every episode that the package reads completely; the reader must not return any other."""
    import zarr

    path = folder / name
    files = [path, *path.rglob("[0-9]*")]
    if any(file.is_fifo() or (file.is_file() and _has_wrong_length(file.read_bytes())) for file in files):
        raise RefusedError("the package would wait for a pipe's writer, or read past a buffer's end")
    store = zarr.storage.ZipStore(path, mode="r") if path.is_file() else str(path)
    root = zarr.open_group(store, mode="r")
    ends = np.asarray(root["meta/episode_ends"]).tolist()
    read = [attempt(partial(_read_episode, root, start, end)) for start, end in pairwise([0, *ends])]
    return {f"episode_{n} {CAMERA}": recording for n, recording in enumerate(read) if isinstance(recording, Recording)}


def _has_wrong_length(data: bytes) -> bool:
    """Return whether a chunk of c-blosc, format version 2, claims a wrong length; it may crash the package."""
    return data[:1] == b"\x02" and data[12:16] != len(data).to_bytes(4, "little")


def _read_episode(root: Any, start: int, end: int) -> Recording:
    def arrays(*names: str) -> list[np.ndarray]:
        """Return the arrays whose metadata can be read."""
        read = [attempt(partial(root.__getitem__, f"data/{name}")) for name in names]
        found = [array for array in read if not isinstance(array, Raised)]
        if any(array.nbytes > 1 << 30 for array in found):
            raise RefusedError("it is too large")
        return [np.asarray(array[start:end]) for array in found]

    states_TS, actions_TA = (
        np.concatenate(parts, axis=1).astype(np.float32) if (parts := arrays(*names)) else None
        for names in (STATES, ("action",))
    )
    return Recording(arrays(CAMERA)[0], FPS, ("",), states_TS, actions_TA)


def _reader(name: str, file: str, make: Callable[[Path], None]) -> Reader:
    read = dataset_reader(file, exact=True, recorded_fps=FPS, height=32, width=32)
    return Reader(name, "the zarr package itself", make, read, partial(_expect_zarr, file), FILES, agree=agree)


READERS = (
    _reader("Zarr, format 2", "d.zarr", partial(_make_zarr, 2, False)),
    _reader("Zarr, format 3", "d.zarr", partial(_make_zarr, 3, False)),
    _reader("Zarr, zip file", "d.zarr.zip", partial(_make_zarr, 2, True)),
)
