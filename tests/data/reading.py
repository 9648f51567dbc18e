"""Short helpers that read sources in tests."""

from pathlib import Path
from typing import Any

import numpy as np

from worldtune.data.dataset import Dataset, build_dataset
from worldtune.data.episode import Episode, SkippedRecording
from worldtune.data.sources import open_source
from worldtune.data.spec import DataSpec

from .videos import read_back


def recordings(path: Path, *cameras: str, fps: float | None = None) -> list[Episode | SkippedRecording]:
    """Return the recordings of the named cameras, or of all."""
    source = open_source(str(path), fps)
    return list(source.recordings(cameras or source.cameras))


def episode(path: Path, camera: str, *others: str) -> Episode:
    """Return the episode of `camera`, read together with the other cameras."""
    found = next(recording for recording in recordings(path, camera, *others) if recording.camera == camera)
    assert isinstance(found, Episode), found
    return found


def frames(found: Episode) -> np.ndarray:
    """Return all frames, uint8 (T, H, W, 3)."""
    return np.stack([frame_HWC for _, frame_HWC in found.footage.frames(range(found.frames))])


def numbers(found: Episode) -> list[int]:
    """Return the numbers that the frames show."""
    return [number for _, number in read_back(frames(found))]


def skipped(path: Path) -> dict[str, str]:
    """Return the reason of each recording that cannot be used."""
    return {found.name: found.reason for found in recordings(path) if isinstance(found, SkippedRecording)}


def reported(path: Path) -> list[tuple[str, str, str]]:
    return [(problem.level, problem.where, problem.what) for problem in open_source(str(path)).problems()]


def build(path: Path, **settings: Any) -> Dataset:
    """Build the dataset with windows of 8 frames at 16 fps, ignoring its faults."""
    size = {"path": str(path), "frames": 8, "fps": 16, "height": 64, "width": 64, "max_skipped": 1}
    return build_dataset(DataSpec.model_validate(size | settings))
