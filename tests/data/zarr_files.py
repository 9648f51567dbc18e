"""Zarr groups of numbered frames, as diffusion policy and UMI write them, by the zarr package."""

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from .videos import film

LENGTHS = (12, 9, 20)


def arrays_of(lengths: tuple[int, ...] = LENGTHS) -> dict[str, np.ndarray]:
    """Return arrays: an episode's number is its frames' tag and its action; the first state counts the frames."""
    total = sum(lengths)
    return {
        "camera0_rgb": np.concatenate([film(length, tag) for tag, length in enumerate(lengths)]),
        "robot0_eef_pos": np.arange(3 * total, dtype=np.float32).reshape(total, 3),
        "robot0_gripper_width": np.zeros((total, 1), np.float32),
        "robot0_demo_start_pose": np.zeros((total, 6)),
        "action": np.repeat(np.arange(len(lengths)), lengths)[:, None].astype(np.float32),
    }


def write_zarr(
    path: Path,
    arrays: dict[str, np.ndarray] | None = None,
    lengths: tuple[int, ...] = LENGTHS,
    version: Any = 2,
    packed: Any = "auto",
    chunk: tuple[int, ...] = (),
) -> Path:
    """Write a folder, or a zip file if `path` ends in .zip. Each image is a chunk, compressed by the codec `packed`."""
    folder = path.with_suffix("") if path.suffix == ".zip" else path
    root = zarr.open_group(str(folder), mode="w", zarr_format=version)
    for name, array in (arrays or arrays_of(lengths)).items():
        options: dict[str, Any] = (
            {"chunks": chunk or (1, *array.shape[1:]), "compressors": packed} if array.ndim == 4 else {}
        )
        with warnings.catch_warnings(action="ignore"):
            root.create_array(f"data/{name}", data=array, **options)
    root.create_array("meta/episode_ends", data=np.cumsum(lengths))
    if path.suffix == ".zip":
        shutil.make_archive(str(folder), "zip", folder)
        shutil.rmtree(folder)
    return path
