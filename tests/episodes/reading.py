"""What a source gives, in the words of a test."""

from pathlib import Path
from typing import Any

import numpy as np

from worldtune.episodes.dataset import Dataset, take_stock
from worldtune.episodes.episode import Episode, Lost
from worldtune.episodes.sources import open_source
from worldtune.episodes.spec import DataSpec

from .films import read_back


def recordings(path: Path, *cameras: str, fps: float | None = None) -> list[Episode | Lost]:
    """By the cameras named, or by all."""
    source = open_source(str(path), fps)
    return list(source.recordings(cameras or source.cameras))


def episode(path: Path, camera: str, *others: str) -> Episode:
    """The one by `camera`, when the others are asked for too."""
    found = next(each for each in recordings(path, camera, *others) if each.camera == camera)
    assert isinstance(found, Episode), found
    return found


def frames(found: Episode) -> np.ndarray:
    """All of them, uint8 (T, H, W, 3)."""
    return np.stack([frame_HWC for _, frame_HWC in found.footage.frames(range(found.frames))])


def numbers(found: Episode) -> list[int]:
    """Those that the frames of a film show."""
    return [number for _, number in read_back(frames(found))]


def lost(path: Path) -> dict[str, str]:
    """The recordings that cannot be used, with their reasons."""
    return {found.name: found.reason for found in recordings(path) if isinstance(found, Lost)}


def told(path: Path) -> list[tuple[str, str, str]]:
    return [(problem.level, problem.where, problem.what) for problem in open_source(str(path)).problems()]


def stock(path: Path, **settings: Any) -> Dataset:
    """The dataset of windows of 8 frames at 16 fps, whatever its faults."""
    size = {"path": str(path), "frames": 8, "fps": 16, "height": 64, "width": 64, "max_loss": 1}
    return take_stock(DataSpec.model_validate(size | settings))
